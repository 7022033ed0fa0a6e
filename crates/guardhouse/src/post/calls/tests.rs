use serde_json::json;
use sessile_model::network::PolicyText;

use super::*;

const VALUE: &str = "k3Yq-Zt91-pLm4-wXyZ";
const TOOLS: &str = "[tools.\"desk/get_page\"]\nreadOnlyHint = true\nopenWorldHint = false\n\
    [tools.\"desk/send_mail\"]\nsinks = [\"to\"]\n";

/// One that knows a value of the environment, and decides by these policies or the shipped ones.
fn post(policies: &str) -> Post {
    let text = PolicyText { name: "test.cedar".into(), text: policies.into() };
    let policies = if policies.is_empty() { Vec::new() } else { vec![text] };
    let spec = GuardSpec { policies, tools: Some(TOOLS.into()) };
    let mut post = Post::begin(&spec, &Text("ab".repeat(32)), Memory::default()).unwrap();
    post.give_variables(&[EnvVar { name: "DEPLOY_TOKEN".into(), value: VALUE.into() }]);
    post
}

fn called(post: &mut Post, number: u32, tool: &str, arguments: serde_json::Value) -> (Judgement, String) {
    let text = arguments.to_string();
    let matter = Matter::Call {
        speaker: "main".into(),
        tool: tool.into(),
        arguments: Text(text.clone()),
        hints: Hints::default(),
        undeclared: Vec::new(),
    };
    let judgement = post.judge(number, 0, matter);
    let rest = without(text.as_bytes(), &judgement.found);
    (judgement, String::from_utf8(rest).unwrap())
}

fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

#[test]
fn what_the_session_keeps_is_given_to_no_tool_however_it_is_written() {
    let (half, rest) = VALUE.split_at(10);
    let long = encoded(&format!("the token is {VALUE}, as you asked"));
    let (front, back) = long.split_at(long.len() / 2);
    let (less, more) = long.split_at(18);
    let backwards: String = VALUE.chars().rev().collect();
    let escaped: String = VALUE.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
    let hidden = [
        json!({"text": VALUE}),
        json!({"text": VALUE.to_lowercase().replace('-', " ")}),
        json!({"text": backwards}),
        json!({"text": encoded(VALUE)}),
        json!({"text": format!("see {long}")}),
        json!({"text": VALUE.bytes().map(|b| format!("{b:02x}")).collect::<String>()}),
        json!({"to": {"deep": [["x", {"er": encoded(VALUE)}]]}}),
        json!({VALUE: 1}),
        json!({encoded(VALUE): true}),
        json!({"a": half, "b": rest}),
        json!({"a": "k3Yq-Zt", "name": "ann", "b": "91-pL", "to": "m", "c": "m4-wXyZ"}),
        json!({"text": "first k3Yq-Zt91-p, and to it comes Lm4-wXyZ"}),
        json!({"text": "it ends in pLm4-wXyZ", "more": ["before that is", "k3Yq-Zt91"]}),
        json!({"text": "1. k3Yq\n2. -Zt91\n3. -pLm4\n4. -wXyZ"}),
        json!({"a": half, "b": "", "c": {"d": [rest]}}),
        json!({"a": front, "b": back}),
        json!({"a": [front, back]}),
        json!({"a": less, "b": more}),
        json!({front: 1, back: 2}),
    ];
    for tool in ["desk/get_page", "desk/send_mail", "desk/unheard_of"] {
        for arguments in &hidden {
            let (judgement, _) = called(&mut post(""), 1, tool, arguments.clone());
            let told = (judgement.effect, judgement.policies.join(","));
            assert_eq!(told, (Effect::Reject, "secrets-stay".to_owned()), "{tool} {arguments}");
            let is_it =
                |found: &Found| found.kind == "tainted_value" && found.of.as_deref() == Some("the session");
            assert!(judgement.found.iter().any(is_it), "{tool} {arguments} {judgement:?}");
        }
        let (plain, _) =
            called(&mut post(""), 1, tool, json!({"to": "ann@example.org", "text": "all is well"}));
        assert_eq!(plain.effect, Effect::Pass, "{tool}: {plain:?}");
    }
    // As JSON has it escaped.
    let matter = Matter::Call {
        speaker: "main".into(),
        tool: "desk/send_mail".into(),
        arguments: Text(format!("{{\"text\": \"{escaped}\"}}")),
        hints: Hints::default(),
        undeclared: Vec::new(),
    };
    assert_eq!(post("").judge(1, 0, matter).effect, Effect::Reject);
}

#[test]
fn a_value_in_pieces_is_found_in_the_call_that_ends_it_whatever_tools_of_the_server_are_called() {
    let mut post = post("");
    let (half, rest) = VALUE.split_at(8);
    let piece = json!({"text": half});
    assert_eq!(called(&mut post, 1, "desk/send_mail", piece).0.effect, Effect::Pass);
    assert_eq!(called(&mut post, 2, "desk/get_page", json!({"name": rest})).0.effect, Effect::Reject);
    // So is one whose pieces have words around them.
    let mut post = self::post("");
    let around = |piece: &str| json!({"text": format!("note: {piece} and so on")});
    assert_eq!(called(&mut post, 1, "desk/send_mail", around(half)).0.effect, Effect::Pass);
    assert_eq!(called(&mut post, 2, "desk/send_mail", around("nothing")).0.effect, Effect::Pass);
    assert_eq!(called(&mut post, 3, "desk/get_page", around(rest)).0.effect, Effect::Reject);
    // Another server has nothing of the first piece.
    let mut post = self::post("");
    called(&mut post, 1, "desk/send_mail", json!({"text": half}));
    assert_eq!(called(&mut post, 2, "else/get_page", json!({"name": rest})).0.effect, Effect::Pass);
}

#[test]
fn a_tools_name_tells_nothing() {
    let written = encoded(VALUE).replace('=', "").replace('+', "-").replace('/', "_");
    for names in [
        &[VALUE][..],
        &[&written],
        &["get_page_k3yq_zt91_plm4_wxyz"],
        &["glpat-Zx71kdMm2x90Ttq3Wv8L"],
        &["note_k3Yq-Zt9", "send_mail", "1-pLm4-wXyZ.end"],
    ] {
        let mut post = post("");
        let (last, before) = names.split_last().unwrap();
        for name in before {
            let (judgement, _) = called(&mut post, 1, &format!("desk/{name}"), json!({}));
            assert_ne!(judgement.policies, [LABEL], "{name}");
        }
        let (judgement, _) = called(&mut post, 2, &format!("desk/{last}"), json!({}));
        assert_eq!(
            (judgement.effect, &judgement.policies[..]),
            (Effect::Reject, &[LABEL.to_owned()][..]),
            "{last}"
        );
        assert!(judgement.because.is_some_and(|because| !because.contains("Yq")));
    }
    let mut post = post("");
    for name in "files/read_text_file files/list_allowed_directories github/create_pull_request_review \
        github/search_repositories slack/conversations_history browser/browser_take_screenshot postgres/query \
        memory/add_observations git/git_diff_staged stripe/create_payment_link google-maps/maps_distance_matrix \
        fetch/fetch time/convert_time everything/get_tiny_image sentry/get_issue_details linear/linear_update_issue \
        notion/API-post-database-query bank/update_password k8s/kubectl_get aws/aws_s3_list_buckets figma/get_figma_data mail/send_email_v2"
        .split_whitespace()
    {
        assert_ne!(called(&mut post, 3, name, json!({})).0.policies, [LABEL], "{name}");
    }
}

#[test]
fn what_is_left_out_is_left_out_of_each_argument_or_the_call_is_refused() {
    let mut post =
        post("@id(\"cut\") @effect(\"Redact\") permit (principal, action == Action::\"call\", resource);");
    let (half, rest) = VALUE.split_at(8);
    for (arguments, left) in [
        (json!({"a": format!("x {VALUE} y")}), json!({"a": "x [redacted] y"})),
        (json!({"a": encoded(VALUE), "b": 1}), json!({"a": "[redacted]", "b": 1})),
        (json!({"a": half, "b": "", "c": rest}), json!({"a": "[redacted]", "b": "", "c": "[redacted]"})),
        (
            json!({"a": "x k3Yq-Zt91 y", "b": "in between", "c": "z pLm4-wXyZ"}),
            json!({"a": "x [redacted] y", "b": "in between", "c": "z [redacted]"}),
        ),
    ] {
        let (judgement, rest) = called(&mut post, 1, "desk/send_mail", arguments.clone());
        assert_eq!(judgement.effect, Effect::Redact, "{arguments} {judgement:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&rest).unwrap(), left, "{arguments}");
        post.trails.clear();
    }
    // Once whole and once in pieces.
    let twice = json!({"a": VALUE, "b": half, "c": rest});
    let (judgement, left) = called(&mut post, 2, "desk/send_mail", twice);
    assert_eq!(judgement.effect, Effect::Redact);
    assert_eq!(left, r#"{"a":"[redacted]","b":"[redacted]","c":"[redacted]"}"#);
    // Small pieces are seen where nothing whole is: when that is taken out.
    let lines = VALUE.as_bytes().chunks(3).map(|piece| format!("x: {}", str::from_utf8(piece).unwrap()));
    let twice = json!({"a": VALUE, "b": lines.collect::<Vec<_>>().join("\n")});
    let (judgement, _) = called(&mut post, 3, "desk/send_mail", twice);
    assert_eq!((judgement.effect, judgement.because.as_deref()), (Effect::Reject, Some(LEFT)));
}

#[test]
fn who_was_allowed_to_have_it_has_it_from_then_on_and_nobody_else() {
    let mut post = post(
        "@id(\"all\") permit (principal, action == Action::\"call\", resource);
         @id(\"ask\") @effect(\"RequireConfirmation\") permit (principal, action == Action::\"call\", resource)
            when { context.confidentiality >= 4 && !context.withinReaders };",
    );
    let given = || json!({"text": encoded(VALUE)});
    let (asked, _) = called(&mut post, 1, "desk/send_mail", given());
    assert_eq!((asked.effect, asked.policies.join(",")), (Effect::Confirm, "ask".to_owned()));
    assert!(asked.because.unwrap().contains("may not read"));
    post.obey(Order::Delivered { number: 1 });
    assert_eq!(called(&mut post, 2, "desk/send_mail", given()).0.effect, Effect::Pass);
    // What one tool of a server was told its others have.
    assert_eq!(called(&mut post, 3, "desk/get_page", given()).0.effect, Effect::Pass);
    assert_eq!(called(&mut post, 4, "else/send_mail", given()).0.effect, Effect::Confirm);
}

#[test]
fn what_a_server_told_goes_back_to_it_and_to_no_other() {
    let mut post = post("");
    let key = "glpat-Zx71kdMm2x90Ttq3Wv8L";
    let matter = Matter::Returned {
        tool: "desk/log_in".into(),
        to: "main".into(),
        text: Text(format!("token: {key}")),
    };
    post.judge(1, 0, matter);
    post.obey(Order::Delivered { number: 1 });
    for (number, tool, effect) in [(2, "desk/get_page", Effect::Pass), (3, "else/get_page", Effect::Reject)] {
        assert_eq!(called(&mut post, number, tool, json!({"key": key})).0.effect, effect, "{tool}");
    }
}
