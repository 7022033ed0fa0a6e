//! A reference model and a fake world that replays seeds against the lifecycle machine.
