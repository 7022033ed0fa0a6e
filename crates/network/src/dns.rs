//! Answers to the apps' DNS questions: fake addresses, and nothing from outside.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use sessile_model::network::host_name;

use crate::names::Names;

/// Longest question, in bytes.
pub const MAX_QUESTION: usize = 4096;
/// Seconds that an answer may be kept: a name's fake addresses stay the same for long.
const TTL_S: u32 = 60;

/// The answer to a message; `None` when it deserves none (not a question, or beyond repair).
pub fn answer(bytes: &[u8], names: &mut Names) -> Option<Vec<u8>> {
    if bytes.len() > MAX_QUESTION {
        return None;
    }
    let Ok(question) = Message::from_vec(bytes) else {
        let id = u16::from_be_bytes(bytes.first_chunk::<2>().copied()?);
        // An answer must not be answered.
        let is_question = bytes.get(2).is_some_and(|flags| flags & 0x80 == 0);
        let error = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
        return is_question.then(|| error.to_vec().ok()).flatten();
    };
    if question.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_queries(question.queries.iter().cloned());
    if question.edns.is_some() {
        answer.set_edns(Edns::new());
    }
    answer.metadata.response_code = match (question.metadata.op_code, question.queries.as_slice()) {
        (OpCode::Query, [query]) if query.query_class() == DNSClass::IN => match records(query, names) {
            Ok(records) => {
                answer.add_answers(records);
                ResponseCode::NoError
            }
            Err(code) => code,
        },
        (OpCode::Query, [_]) => ResponseCode::Refused,
        (OpCode::Query, _) => ResponseCode::FormErr,
        (OpCode::Status | OpCode::Notify | OpCode::Update | OpCode::Unknown(_), _) => ResponseCode::NotImp,
    };
    answer.to_vec().ok()
}

/// The records of one question. A question about anything but addresses is answered with nothing
/// (services, which carry addresses and keys that would go past the names) or refused, since its
/// text would otherwise be carried out into the world.
fn records(query: &Query, names: &mut Names) -> Result<Vec<Record>, ResponseCode> {
    let record = |data| Record::from_rdata(query.name().clone(), TTL_S, data);
    let kind = query.query_type();
    if kind == RecordType::PTR {
        return pointer(query.name(), names).map(|p| vec![record(RData::PTR(PTR(p)))]);
    }
    if ![RecordType::A, RecordType::AAAA, RecordType::HTTPS, RecordType::SVCB].contains(&kind) {
        return Err(ResponseCode::Refused);
    }
    let name = host_name(&query.name().to_ascii()).ok_or(ResponseCode::NXDomain)?;
    let is_local = name == "localhost" || name.ends_with(".localhost");
    let (v4, v6) = match is_local {
        true => (std::net::Ipv4Addr::LOCALHOST, std::net::Ipv6Addr::LOCALHOST),
        // Names without a dot are the searching of resolvers, or of the local network.
        false if !name.contains('.') => return Err(ResponseCode::NXDomain),
        false => names.addresses(&name),
    };
    let v4 = (kind == RecordType::A).then(|| record(RData::A(A(v4))));
    let v6 = (kind == RecordType::AAAA).then(|| record(RData::AAAA(AAAA(v6))));
    Ok(v4.into_iter().chain(v6).collect())
}

/// The name behind `4.3.2.1.in-addr.arpa` or its like (RFC 1035, section 3.5).
fn pointer(name: &Name, names: &Names) -> Result<Name, ResponseCode> {
    let network = name.parse_arpa_name().map_err(|_| ResponseCode::NXDomain)?;
    let found = names.name(network.addr()).ok_or(ResponseCode::NXDomain)?;
    Name::from_ascii(format!("{found}.")).map_err(|_| ResponseCode::NXDomain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(names: &mut Names, name: &str, kind: RecordType) -> Message {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        question.metadata.recursion_desired = true;
        let answer = Message::from_vec(&answer(&question.to_vec().unwrap(), names).unwrap()).unwrap();
        assert_eq!(answer.metadata.id, question.metadata.id);
        assert_eq!(answer.queries, question.queries);
        answer
    }

    #[test]
    fn names_get_fake_addresses() {
        let mut names = Names::default();
        let said = ask(&mut names, "API.example.com.", RecordType::A);
        let RData::A(A(v4)) = said.answers[0].data else { panic!("{said}") };
        assert_eq!(names.name(v4.into()), Some("api.example.com"));
        let said = ask(&mut names, "api.example.com.", RecordType::AAAA);
        let RData::AAAA(AAAA(v6)) = said.answers[0].data else { panic!("{said}") };
        assert_eq!(names.name(v6.into()), Some("api.example.com"));
        let [a, b, c, d] = v4.octets();
        let said = ask(&mut names, &format!("{d}.{c}.{b}.{a}.in-addr.arpa."), RecordType::PTR);
        assert!(matches!(&said.answers[0].data, RData::PTR(p) if p.0.to_ascii() == "api.example.com."));
    }

    #[test]
    fn what_would_carry_text_out_or_go_past_names_is_not_answered() {
        let mut names = Names::default();
        for (name, kind, code) in [
            ("secret.evil.example.", RecordType::TXT, ResponseCode::Refused),
            ("evil.example.", RecordType::MX, ResponseCode::Refused),
            ("example.com.", RecordType::HTTPS, ResponseCode::NoError),
            ("single.", RecordType::A, ResponseCode::NXDomain),
            ("1.1.1.1.in-addr.arpa.", RecordType::PTR, ResponseCode::NXDomain),
        ] {
            let said = ask(&mut names, name, kind);
            assert_eq!(said.metadata.response_code, code, "{name}");
            assert!(said.answers.is_empty());
        }
        let said = ask(&mut names, "localhost.", RecordType::A);
        assert!(matches!(said.answers[0].data, RData::A(A(a)) if a.is_loopback()));
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let mut names = Names::default();
        assert_eq!(answer(b"", &mut names), None);
        assert_eq!(answer(b"\x01", &mut names), None);
        let mut reply = Message::response(7, OpCode::Query);
        reply.add_query(Query::query(Name::from_ascii("a.b.").unwrap(), RecordType::A));
        assert_eq!(answer(&reply.to_vec().unwrap(), &mut names), None);
        let broken = answer(b"\x12\x34\x01\x00\x00\x01", &mut names).unwrap();
        assert_eq!(Message::from_vec(&broken).unwrap().metadata.response_code, ResponseCode::FormErr);
    }

    proptest! {
        #[test]
        fn arbitrary_questions_are_answered_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut names = Names::default();
            if let Some(said) = answer(&bytes, &mut names) {
                prop_assert!(Message::from_vec(&said).is_ok());
            }
        }
    }
}
