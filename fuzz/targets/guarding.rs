//! What keeper, guard and gateway say to each other, and what a guard makes of requests that it is shown.

#![no_main]

use libfuzzer_sys::fuzz_target;
use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_PARSE_ZLIB_HEADER, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sessile_fuzz::{Draw, plant};
use sessile_guardhouse::post::Post;
use sessile_guardhouse::post::outgoing::Act;
use sessile_model::AppName;
use sessile_model::guarding::outgoing::{
    Coding, MAX_SHOWN, MOST_BODY, MOST_EXCERPT, MOST_KEPT, MOST_TOLD, Showing, Shown, WINDOW, Weighed, Word,
    packed_heads, reader,
};
use sessile_model::guarding::{
    AuditEntry, Effect, Found, GuardSpec, Judgement, MAX_PACKET, Matter, Memory, Order, Report, Text, Value,
    without,
};

/// What a reader of a body's beginning makes of it.
const INFLATE: u32 = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | TINFL_FLAG_HAS_MORE_INPUT;
const VALUE: &str = "k3Yq-Zt91-pLm4-wXyZ";

fuzz_target!(init: plant(seeds()), |data: &[u8]| {
    let mut draw = Draw(data);
    match draw.byte() % 7 {
        0 => read::<Order>(draw.0),
        1 => read::<Report>(draw.0),
        2 => read::<Showing>(draw.0),
        3 => read::<Word>(draw.0),
        4 => read::<AuditEntry>(draw.0),
        5 => left_out(draw),
        _ => shown(draw),
    }
});

/// What is read says the same once it is written and read again.
fn read<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    let Ok(message) = serde_json::from_slice::<T>(bytes) else { return };
    let Ok(written) = serde_json::to_value(&message) else { return };
    // What an earlier reader makes of a later message is not said by its writer.
    if let Ok(again) = serde_json::from_value::<T>(written.clone()) {
        assert_eq!(serde_json::to_value(&again).expect("it was JSON before"), written);
    }
}

fn left_out(mut draw: Draw<'_>) {
    let found: Vec<Found> = (0..draw.byte() % 8)
        .map(|_| {
            let span = (usize::from(draw.byte()), usize::from(draw.byte()));
            Found { kind: String::new(), span, confidentiality: 4, of: None }
        })
        .collect();
    let rest = without(draw.0, &found);
    if found.iter().all(|found| found.span.0 >= found.span.1) {
        assert_eq!(rest, draw.0);
    }
}

fn post() -> Post {
    let value = Value {
        value: Text(VALUE.to_owned()),
        confidentiality: 4,
        owner: "User".to_owned(),
        readers: [reader("a.example", 80)].into(),
    };
    let (spec, key) = (GuardSpec::default(), Text("ab".repeat(32)));
    let mut post = Post::begin(&spec, &key, Memory::default()).expect("the shipped policies");
    post.give(vec![value]);
    post
}

fn shown(mut draw: Draw<'_>) {
    let (kind, port) = (draw.byte(), 80 + u16::from(draw.byte() % 2));
    let coding = [Coding::Identity, Coding::Gzip, Coding::Deflate, Coding::Unseen][usize::from(kind % 4)];
    let is_last = kind & 4 == 0;
    let head = if kind & 8 == 0 { draw.run() } else { &[] };
    // As a gateway does, not byte by byte.
    let (read, level) = (WINDOW + usize::from(draw.byte()) * 64, draw.byte());
    // Long enough for something to be kept back, and for something to go.
    let mut body = draw.0.repeat(1 + usize::from(kind >> 4) * 64);
    body.truncate(MOST_BODY);
    // As it is, which is no deflate but by chance, or packed.
    let is_packed = coding == Coding::Deflate && level % 4 > 0;
    if is_packed {
        body = compress_to_vec(&body, level % 11);
    }
    // As zlib, which nothing says.
    let looks_packed = coding == Coding::Identity && level % 4 == 3;
    if looks_packed {
        body = compress_to_vec_zlib(&body, level % 11);
    }
    let flags = if looks_packed { INFLATE | TINFL_FLAG_PARSE_ZLIB_HEADER } else { INFLATE };
    let mut packed_from = None;
    let (mut post, mut kept, mut gone, mut head) = (post(), Vec::new(), Vec::new(), head);
    let mut reads = body.chunks(read).peekable();
    loop {
        kept.extend_from_slice(reads.next().unwrap_or_default());
        let ends = reads.peek().is_none();
        if coding == Coding::Identity && packed_from.is_none() {
            let heads = packed_heads(&kept, 0, gone.is_empty());
            packed_from = heads.first().map(|(at, _)| (gone.len() + at) as u64);
        }
        let part = Shown {
            number: 3,
            app: AppName::main(),
            host: "a.example".to_owned(),
            port,
            method: "POST".to_owned(),
            head: Text(base64(head)),
            body: Text(base64(&kept)),
            coding,
            is_last: is_last && ends,
            stream: 5,
            at: gone.len() as u64,
            packed_from,
        };
        let shown_head = std::mem::take(&mut head);
        let showing = Showing::Part(Box::new(part));
        assert!(serde_json::to_vec(&showing).expect("it is JSON").len() <= MAX_SHOWN);
        let Some(goes) = said(&mut post, showing) else { return };
        assert!(goes <= kept.len() && (kept.len() - goes <= MOST_KEPT));
        gone.extend(kept.drain(..goes));
        let leaks = |bytes: &[u8]| bytes.windows(VALUE.len()).any(|part| part == VALUE.as_bytes());
        let mut made = vec![0; if is_packed || looks_packed { MOST_BODY } else { 0 }];
        let (_, _, length) = decompress(&mut DecompressorOxide::new(), &gone, &mut made, 0, flags);
        assert!(
            port == 80 || ![shown_head, &gone, &made[..length]].into_iter().any(leaks),
            "it left for another"
        );
        if ends {
            assert!(!is_last || kept.is_empty());
            return;
        }
    }
}

/// How much of what is shown goes; nothing where it is refused.
fn said(post: &mut Post, showing: Showing) -> Option<usize> {
    let mut acts = post.show(showing, 0);
    let mut word = None;
    while let Some(act) = acts.pop() {
        match act {
            Act::Say(said) => word = Some(said),
            Act::Tell(report) => {
                assert!(serde_json::to_vec(&report).expect("it is JSON").len() <= MAX_PACKET);
                if let Report::Weighed { ticket, weighed } = report {
                    holds(&weighed);
                    acts = post.release(ticket, weighed.judgement.effect == Effect::Pass, 0);
                }
            }
        }
    }
    match word.expect("everything that is shown is answered") {
        Word::Goes { number: 3, body } => Some(body as usize),
        Word::Refused { number: 3 } => None,
        other => panic!("{other:?}"),
    }
}

fn holds(weighed: &Weighed) {
    let length = weighed.excerpt.0.len() / 4 * 3;
    assert!(length <= MOST_EXCERPT + 3 && weighed.judgement.found.len() <= MOST_TOLD);
    for found in &weighed.judgement.found {
        assert!(found.span.0 <= found.span.1 && found.span.1 <= length);
    }
    assert!(!format!("{weighed:?}").contains(VALUE));
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = char::from(LETTERS[(bits >> (18 - 6 * at)) as usize & 63]);
            text.push(if at <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

fn seeds() -> Vec<Vec<u8>> {
    let judgement = Judgement {
        effect: Effect::Confirm,
        policies: vec!["p".to_owned()],
        because: Some("it failed".to_owned()),
        found: vec![Found {
            kind: "card".to_owned(),
            span: (1, 3),
            confidentiality: 3,
            of: Some("User".to_owned()),
        }],
        confidentiality: 3,
        suspicion: 7,
        risk: 9,
        learns: Vec::new(),
    };
    let weighed = Weighed {
        app: AppName::main(),
        host: "a.example".to_owned(),
        port: 80,
        place: sessile_model::guarding::outgoing::Place::Body,
        bytes: 3,
        excerpt: Text("aHVzaA==".to_owned()),
        judgement: judgement.clone(),
    };
    let line = Matter::Line {
        speaker: "User".to_owned(),
        by_operator: true,
        to: "Agent".to_owned(),
        label: Text("word".to_owned()),
        payload: Text("aHVzaA==".to_owned()),
    };
    let orders = [
        Order::Judge { number: 1, at_ms: 2, matter: line },
        Order::Watch { at_ms: 2 },
        Order::Release { ticket: 1, goes: true },
        Order::Delivered { number: 1 },
    ];
    let reports = [
        Report::Weighed { ticket: 1, weighed: Box::new(weighed) },
        Report::Judged { number: 1, judgement: Box::new(judgement) },
        Report::Left { ticket: 1 },
        Report::Ready { weaker_because: None },
    ];
    let words = [Word::Goes { number: 1, body: 2 }, Word::Held { number: 1 }, Word::Refused { number: 1 }];
    let mut seeds = Vec::new();
    let mut add = |kind: u8, json: Result<Vec<u8>, serde_json::Error>| {
        seeds.push([vec![kind], json.expect("it is JSON")].concat());
    };
    orders.iter().for_each(|order| add(0, serde_json::to_vec(order)));
    reports.iter().for_each(|report| add(1, serde_json::to_vec(report)));
    add(2, serde_json::to_vec(&Showing::Left { number: 1 }));
    words.iter().for_each(|word| add(3, serde_json::to_vec(word)));
    let head =
        format!("POST /?q={VALUE} HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer abcdefgh12\r\n\r\n");
    let length = u8::try_from(head.len()).expect("it is short");
    seeds.push([&[6, 0, 1, length], head.as_bytes(), &[4, 0], b"a body"].concat());
    seeds.push([&[6, 0x1c, 1, 4, 0], VALUE.as_bytes(), b" and something else"].concat());
    for level in [1, 2, 6, 9] {
        seeds.push([&[6, 0x7a, 1, 3, level], VALUE.as_bytes(), b" and something else"].concat());
        seeds.push([&[6, 0x7a, 0, 3, level], &b"all is well, and so is the rest"[..]].concat());
    }
    seeds
}
