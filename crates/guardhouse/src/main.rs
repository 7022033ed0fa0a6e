//! The program of guards and, as `relay`, of the relays of MCP servers; a keeper starts it. Descriptor 3 is its socket to the keeper.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Overwrites memory as it is freed, so that nothing of a session outlives its use here.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    let outcome = match std::env::args_os().nth(1) {
        Some(what) if what == "relay" => sessile_guardhouse::relay(),
        Some(_) | None => sessile_guardhouse::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sessile-guard: {error}");
            ExitCode::FAILURE
        }
    }
}
