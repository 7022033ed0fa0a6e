use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

use super::super::tests::{knowing, post, shown, streamed_as, through};
use super::*;

const VALUE: &str = "k3Yq-Zt91-pLm4-wXyZ";

/// Words that do not repeat, so that packing them makes them little shorter.
fn words(count: u32) -> String {
    let word = |n: u32| format!("{:x} ", n.wrapping_mul(2_654_435_761) >> 4);
    (0..count).map(word).collect()
}

/// What is made of the beginning of something that deflate has packed.
fn made_of(packed: &[u8], most: usize) -> Vec<u8> {
    let mut room = vec![0; most];
    let flags =
        inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
    let (_, _, length) = decompress(&mut DecompressorOxide::new(), packed, &mut room, 0, flags);
    room.truncate(length);
    room
}

#[test]
fn long_bodies_are_looked_into_as_they_come() {
    let text = words(60_000);
    for (level, read, at) in [(6, 16 << 10, 300_000), (1, 4096, 411_111), (0, 1000, 9000), (9, 333, 8)] {
        let clean = compress_to_vec(text.as_bytes(), level);
        assert!(clean.len() > 3 * MOST_KEPT, "{}", clean.len());
        assert_eq!(
            streamed_as(&mut knowing(VALUE), Coding::Deflate, &clean, read).unwrap(),
            clean,
            "{level}"
        );
        let told = format!("{}{VALUE}{}", &text[..at], &text[at..]);
        let told = compress_to_vec(told.as_bytes(), level);
        let gone = streamed_as(&mut knowing(VALUE), Coding::Deflate, &told, read).unwrap_err();
        // Whoever has what went has nothing of the value, and most of what stands before it.
        let made = made_of(&gone, text.len());
        assert!(text.as_bytes().starts_with(&made) && made.len() <= at, "{} of {at}", made.len());
        assert!(made.len() + (100 << 10) >= at, "{} of {at}", made.len());
    }
    let zlib = compress_to_vec_zlib(text.as_bytes(), 6);
    assert_eq!(streamed_as(&mut knowing(VALUE), Coding::Deflate, &zlib, 5000).unwrap(), zlib);
    for body in [&zlib[..zlib.len() - 3], &[&zlib[..], b"more"].concat(), &[&zlib[..90_000], b"no"].concat()]
    {
        assert!(streamed_as(&mut knowing(VALUE), Coding::Deflate, body, 5000).is_err());
    }
}

#[test]
fn nothing_of_a_value_goes_wherever_parts_end() {
    let (text, more) = (words(6000), words(6040));
    let value = &more[text.len()..];
    // What is not compressed stands at the same places, five bytes on: a part ends within the value.
    let end = 2 * sessile_model::guarding::outgoing::WINDOW - 5;
    for at in (end - value.len() - 1..=end + 1).step_by(7) {
        let told = compress_to_vec(format!("{}{value}{}", &text[..at], &text[at..]).as_bytes(), 0);
        let gone = streamed_as(&mut knowing(value), Coding::Deflate, &told, 8192).unwrap_err();
        let made = made_of(&gone, text.len());
        assert!(made.len() <= at && !gone.is_empty(), "{} of {at}", made.len());
    }
}

#[test]
fn what_holds_too_much_is_not_seen() {
    let much = compress_to_vec(&vec![b'a'; 6 << 20], 6);
    assert!(much.len() < 16 << 10);
    assert!(streamed_as(&mut knowing(VALUE), Coding::Deflate, &much, 4096).unwrap_err().is_empty());
    // Much of what nobody would send at once may come one after the other.
    let lines = words(2000).repeat(60);
    let packed = compress_to_vec(lines.as_bytes(), 6);
    assert_eq!(streamed_as(&mut knowing(VALUE), Coding::Deflate, &packed, 4096).unwrap(), packed);
}

#[test]
fn a_guard_that_did_not_see_the_begin_sees_nothing() {
    let packed = compress_to_vec(words(60_000).as_bytes(), 6);
    let part = |at: usize, length: usize| Shown {
        coding: Coding::Deflate,
        is_last: false,
        at: at as u64,
        head: Text::default(),
        ..shown("a.example", "", &packed[at..at + length])
    };
    let mut post = post("");
    let (word, _) = through(&mut post, part(0, 20_000));
    let Word::Goes { body, .. } = word else { panic!("{word:?}") };
    assert!(body > 8000, "{body}");
    let next = part(body as usize, 30_000);
    assert!(matches!(through(&mut super::super::tests::post(""), next.clone()).0, Word::Refused { .. }));
    assert!(matches!(through(&mut post, next.clone()).0, Word::Goes { .. }));
    // Nor one that was left.
    post.show(Showing::Left { number: next.stream }, 0);
    assert!(matches!(through(&mut post, next).0, Word::Refused { .. }));
    // Of too many at once the oldest is forgotten.
    for stream in 1..=MOST_STREAMS as u64 + 1 {
        through(&mut post, Shown { stream, ..part(0, 20_000) });
    }
    assert_eq!(post.streams.0.len(), MOST_STREAMS);
    assert_eq!(post.streams.0.keys().next(), Some(&2));
    post.unwatched();
    assert!(post.streams.0.is_empty());
}

#[test]
fn somebody_may_be_asked_within_a_body() {
    let asks = r#"@id("all") permit (principal, action == Action::"send", resource);
        @id("ask") @effect("RequireConfirmation") permit (principal, action == Action::"send", resource)
        when { !context.withinReaders };"#;
    let text = words(60_000);
    let told = compress_to_vec(format!("{}{VALUE}{}", &text[..300_000], &text[300_000..]).as_bytes(), 6);
    let mut post = post(asks);
    post.give_variables(&[sessile_model::spec::EnvVar { name: "A_TOKEN".into(), value: VALUE.into() }]);
    let (mut at, mut kept, mut asked) = (0, Vec::new(), 0);
    for (number, read) in told.chunks(8192).enumerate() {
        kept.extend_from_slice(read);
        let is_last = (number + 1) * 8192 >= told.len();
        let part = Shown {
            coding: Coding::Deflate,
            is_last,
            at,
            head: Text::default(),
            ..shown("a.example", "", &kept)
        };
        let mut acts = post.show(Showing::Part(Box::new(part)), 0);
        let goes = loop {
            let Some(act) = acts.pop() else { panic!("everything is answered") };
            match act {
                Act::Say(Word::Goes { body, .. }) => break body as usize,
                Act::Tell(Report::Weighed { ticket, .. }) => {
                    asked += 1;
                    acts = post.release(ticket, true, 0);
                }
                Act::Say(Word::Held { .. }) => {}
                Act::Say(Word::Refused { .. } | Word::Unknown) | Act::Tell(_) => panic!("it goes on"),
            }
        };
        kept.drain(..goes);
        at += goes as u64;
    }
    assert_eq!((at, kept.len()), (told.len() as u64, 0));
    assert_eq!(asked, 1, "what was allowed is not asked about again");
    assert!(post.streams.0.is_empty());
}

/// The CRC-32 of gzip.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let trailer = [crc32(text), text.len() as u32].map(u32::to_le_bytes).concat();
    [&b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..], &compress_to_vec(text, 6), &trailer].concat()
}

#[test]
fn what_looks_packed_is_looked_into_wherever_it_stands() {
    let part = |content: &[u8]| {
        let head = b"--x\r\nContent-Disposition: form-data; name=f; filename=f.gz\r\n\r\n";
        [&b"--x\r\n\r\nplain\r\n"[..], head, content, b"\r\n--x--\r\n"].concat()
    };
    let long = words(4000);
    for (before, after) in [("", ""), ("see ", " there"), (&long[..], &long[..9000])] {
        let bodies = |value: &str| {
            let text = format!("{before}{value}{after}");
            let once = gzip(text.as_bytes());
            let zlib = compress_to_vec_zlib(text.as_bytes(), 6);
            let noise = [&[0xff; 300][..], &once[..]].concat();
            // Undone until what follows is no more than it.
            let cut = [&gzip(b"harmless")[..20], &once].concat();
            [
                (Coding::Identity, once.clone()),
                (Coding::Identity, zlib.clone()),
                (Coding::Identity, gzip(&once)),
                (Coding::Identity, gzip(&gzip(&once))),
                (Coding::Gzip, gzip(&once)),
                (Coding::Deflate, compress_to_vec(&once, 6)),
                (Coding::Gzip, gzip(&zlib)),
                (Coding::Identity, part(&once)),
                (Coding::Identity, part(&zlib)),
                (Coding::Identity, gzip(&part(&once))),
                (Coding::Identity, [gzip(b"harmless"), once.clone()].concat()),
                (Coding::Identity, [&once[..], b" and more"].concat()),
                (Coding::Identity, once[..once.len() - 9].to_vec()),
                (Coding::Identity, noise),
                (Coding::Identity, cut),
            ]
        };
        for (number, ((coding, told), (_, clean))) in
            bodies(VALUE).into_iter().zip(bodies("nothing")).enumerate()
        {
            for read in if before.len() < 100 { [7, 333] } else { [5000, 16 << 10] } {
                let gone = streamed_as(&mut knowing(VALUE), coding, &told, read);
                assert!(gone.is_err(), "{number} of {} in {read}", told.len());
                let gone = streamed_as(&mut knowing(VALUE), coding, &clean, read);
                assert!(gone == Ok(clean.clone()), "{number} of {} in {read}", clean.len());
            }
        }
    }
}

#[test]
fn what_is_truly_packed_and_cannot_be_seen_does_not_go() {
    let identity = |body: &[u8]| streamed_as(&mut knowing(VALUE), Coding::Identity, body, 4096);
    // Too deep, too much, and too many at once.
    let deep = (0..4).fold(b"harmless".to_vec(), |text, _| gzip(&text));
    assert!(identity(&deep).is_err());
    assert!(identity(&gzip(&vec![b'a'; 6 << 20])).is_err());
    let many = b"\x1f\x8b\x08\x08\0\0\0\0\0\x03n".repeat(MOST_LEVELS + 1);
    assert!(identity(&many).is_err());
    assert!(identity(&many[..11]).is_ok());
    // What only begins so is what it is.
    for body in
        [&b"x^2 + y^2 = z^2"[..], b"x\x9c is no zlib", b"\x1f\x8b\x08", b"\x1f\x8b\x08\x00 and so on, and on"]
    {
        assert_eq!(identity(body).as_deref(), Ok(body));
        let told = [body, b" ", VALUE.as_bytes()].concat();
        assert!(identity(&told).is_err(), "{told:?}");
    }
    // Another guard has not seen its begin.
    let packed = gzip(words(90_000).as_bytes());
    let part = |at: usize, length: usize| Shown {
        is_last: false,
        at: at as u64,
        head: Text::default(),
        packed_from: Some(0),
        ..shown("a.example", "", &packed[at..at + length])
    };
    let mut post = post("");
    let (word, _) = through(&mut post, part(0, 60_000));
    let Word::Goes { body, .. } = word else { panic!("{word:?}") };
    assert!(body > 8000, "{body}");
    let next = part(body as usize, 60_000);
    assert!(matches!(through(&mut super::super::tests::post(""), next.clone()).0, Word::Refused { .. }));
    assert!(matches!(through(&mut post, next).0, Word::Goes { .. }));
}

#[test]
fn numbers_hide_nothing() {
    let numbers = |count: u32| (1..=count).map(|n| format!("{n}\n")).collect::<String>();
    let text = format!("{}{VALUE}{}", numbers(90_000), numbers(2000));
    let packed = gzip(text.as_bytes());
    for read in [333, 5000, 8192, 16 << 10] {
        assert!(streamed_as(&mut knowing(VALUE), Coding::Identity, text.as_bytes(), read).is_err(), "{read}");
        assert!(streamed_as(&mut knowing(VALUE), Coding::Gzip, &packed, read).is_err(), "{read}");
    }
}
