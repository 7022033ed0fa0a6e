//! Frames and messages on the keeper's socket.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::{plant, survives};
use sessile_model::protocol::{Asked, CloseTalk, Closing, Delegate, LineSeal, Say, Speaker, Stand, Told};
use sessile_model::wire::{self, Attach, Event, FrameType, HEADER_LEN, Hello, Reply, Request};
use sessile_model::{Millis, Problem, ProblemKind, spec::WindowSize, state::EndedBy};

fuzz_target!(init: plant(seeds()), |data: &[u8]| {
    let mut rest = data;
    loop {
        let (header, payload, used) = match wire::take_frame(rest) {
            Ok(Some(taken)) => taken,
            Ok(None) => {
                // More bytes are waited for only up to a limit.
                assert!(rest.len() < HEADER_LEN + wire::MAX_PAYLOAD);
                break;
            }
            Err(_) => break,
        };
        assert_eq!(used, HEADER_LEN + payload.len());
        assert_eq!(header.encode(), rest[..HEADER_LEN]);
        if let Some(kind) = FrameType::from_byte(header.kind) {
            let mut again = Vec::new();
            wire::put_flagged_frame(&mut again, kind, header.flags, header.channel, &[payload]);
            assert_eq!(again, rest[..used], "a frame is written as it was read");
            message(kind, payload);
        }
        rest = &rest[used..];
    }
});

fn message(kind: FrameType, payload: &[u8]) {
    match kind {
        FrameType::Hello => read::<Hello>(payload),
        // What an app says by the socket of its session's conversation comes without a frame.
        FrameType::Request => {
            read::<Request>(payload);
            read::<Asked>(payload);
        }
        FrameType::Reply => {
            read::<Reply>(payload);
            read::<Told>(payload);
        }
        FrameType::Event => read::<Event>(payload),
        FrameType::Output
        | FrameType::Dump
        | FrameType::Input
        | FrameType::InputDone
        | FrameType::OutputDone => {
            if let Ok((number, bytes)) = wire::split_number(payload) {
                assert_eq!([&number.to_le_bytes()[..], bytes].concat(), payload);
            }
        }
    }
}

fn read<T>(payload: &[u8])
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    if let Ok(value) = serde_json::from_slice::<T>(payload) {
        survives(&value);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let json = |kind, value: serde_json::Value| {
        let mut out = Vec::new();
        wire::put_frame(&mut out, kind, 1, &[value.to_string().as_bytes()]);
        out
    };
    let value = |request: &Request| serde_json::to_value(request).expect("a request is JSON");
    let mut seeds = vec![json(FrameType::Hello, serde_json::json!({"version": 1, "program": "0.1.0"}))];
    for request in [
        Request::Show { follow: true },
        Request::Attach(Attach { size: Some(WindowSize::default()), client: 7, ..Attach::default() }),
        Request::Resize(WindowSize { cols: 100, rows: 30 }),
        Request::Signal { signal: 15 },
        Request::Output { app: Some(sessile_model::AppName::main()), since: Some(1), max: None, keep: false },
        Request::End { grace: Some(Millis(5)), by: EndedBy::Operator },
        Request::Open(Box::new(wire::Open {
            spec: sessile_model::Spec::default(),
            subordinate_base: None,
            tor: None,
        })),
    ] {
        seeds.push(json(FrameType::Request, value(&request)));
    }
    let say = Say {
        role: "A".into(),
        to: "B".into(),
        label: "m".into(),
        payload: "aGk=".into(),
        token: "0".repeat(32),
        timeout: Some(Millis(5)),
        seal: Some(LineSeal {
            key: "0".repeat(64),
            session: "1".repeat(32),
            epoch: 2,
            sequence: 3,
            link: "4".repeat(64),
            signature: "5".repeat(128),
        }),
    };
    let stand = Stand { role: "A".into(), to: "B".into(), label: "m".into() };
    let close = CloseTalk { role: None, how: Closing::Abort };
    let delegate = Delegate { role: "A".into(), to: Speaker::Operator(None) };
    for asked in [
        Asked::Say(say),
        Asked::Offered { role: "A".into() },
        Asked::Stand(stand),
        Asked::Close(close),
        Asked::Delegate(delegate),
    ] {
        seeds.push(json(FrameType::Request, serde_json::to_value(asked).expect("a request is JSON")));
    }
    let problem = Problem::new(ProblemKind::Conflict, "no").hint("wait");
    for reply in [
        Reply::Done,
        Reply::Problem(problem),
        Reply::Attached { input_done: 1, input_started: 2, offset: 3, exclusive: true },
    ] {
        seeds.push(json(FrameType::Reply, serde_json::to_value(reply).expect("a reply is JSON")));
    }
    let event = Event::Exited { exit: sessile_model::state::Exit::Code { code: 1 } };
    seeds.push(json(FrameType::Event, serde_json::to_value(event).expect("an event is JSON")));
    let mut input = Vec::new();
    wire::put_frame(&mut input, FrameType::Input, 3, &[&7u64.to_le_bytes(), b"ls\n"]);
    wire::put_flagged_frame(
        &mut input,
        FrameType::Output,
        wire::FLAG_STDERR,
        3,
        &[&9u64.to_le_bytes(), b"x"],
    );
    seeds.push(input);
    seeds
}
