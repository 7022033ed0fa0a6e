//! What every end-to-end test stands on.

pub mod emulator;
mod leftovers;
pub mod plants;
pub mod processes;
pub mod rehearsal;
mod running;
pub mod stand_in;
mod terminal;
pub mod tor_network;
mod world;

pub use leftovers::Leftovers;
pub use running::{Finished, Running, TIME_LIMIT};
pub use terminal::Terminal;
pub use world::{World, as_own, as_root, as_user, skip};

/// Questions and answers until one says goodbye.
pub const TALK: &str = "module talk;
type <rust> \"String\" from \"std\" as Text;
global protocol Talk(role User, role Agent) {
    rec Round {
        ask(Text) from User to Agent;
        choice at Agent { answer(Text) from Agent to User; continue Round; }
        or { bye() from Agent to User; }
    }
}
";

/// Makes two tests of one function: as root and as an unprivileged user.
macro_rules! for_root_and_user {
    ($($(#[$attribute:meta])* fn $name:ident($world:ident) $body:block)+) => {$(
        $(#[$attribute])*
        fn $name($world: &$crate::support::World) $body

        mod $name {
            #[test]
            fn as_root() {
                $crate::support::as_root(super::$name);
            }

            #[test]
            fn as_user() {
                $crate::support::as_user(super::$name);
            }
        }
    )+};
}
