//! The keeper's program; an anchor starts it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use sessile_keeper::{Keeper, Seat};

/// Overwrites memory as it is freed, so that nothing of a session outlives its use here.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments = if arguments.first().is_some_and(|first| first == "keeper") {
        arguments
    } else {
        std::iter::once("keeper".to_owned()).chain(arguments).collect()
    };
    match Seat::take(&arguments) {
        Ok(seat) => {
            let mut keeper = Keeper::new(seat);
            keeper.adopt();
            keeper.run();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("sessile-keeper: {error}");
            ExitCode::from(64)
        }
    }
}
