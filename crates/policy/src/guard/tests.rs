use super::*;
use proptest::prelude::*;
use sessile_model::network::PolicyText;

fn read(text: &str) -> Result<Policies, String> {
    let texts = [PolicyText { name: "work.cedar".to_owned(), text: text.to_owned() }];
    let said = |flaws: Vec<crate::Flaw>| flaws.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    load(&texts).map(|(policies, _)| policies).map_err(said)
}

/// A declared tool that writes to others; nothing untrusted was read.
fn send() -> Call<'static> {
    Call {
        speaker: "agent",
        tool: "send_money",
        is_known: true,
        is_read_only: false,
        is_destructive: true,
        is_idempotent: false,
        is_open_world: true,
        after_untrusted_read: false,
        control: 2,
        is_anchored: true,
        payload: Payload { confidentiality: 1, within_readers: true, ..Payload::default() },
    }
}

fn said(ruling: &Ruling) -> String {
    format!("{} {}", ruling.effect, ruling.policies.join(","))
}

#[test]
fn the_shipped_policy_about_calls() {
    let policies = shipped().unwrap();
    let untrusted = || Call { after_untrusted_read: true, ..send() };
    let unread =
        |call: Call<'static>| Call { payload: Payload { within_readers: false, ..call.payload }, ..call };
    for (call, expected) in [
        (send(), "ProcessLocal trusted-destination"),
        (untrusted(), "ProcessLocal trusted-destination"),
        (Call { control: 1, ..untrusted() }, "ProcessLocal trusted-destination"),
        (Call { control: 0, is_anchored: false, ..untrusted() }, "RequireConfirmation untrusted-destination"),
        (Call { control: 3, is_anchored: false, ..untrusted() }, "RequireConfirmation no-destination"),
        (Call { control: 3, is_anchored: false, ..send() }, "ProcessLocal trusted-destination"),
        (Call { is_known: false, ..send() }, "ProcessLocal trusted-destination"),
        (Call { is_known: false, ..untrusted() }, "RequireConfirmation unknown-tool"),
        (
            Call {
                is_read_only: true,
                is_destructive: false,
                is_open_world: false,
                control: 0,
                is_anchored: false,
                ..untrusted()
            },
            "ProcessLocal reads",
        ),
        (
            Call { is_read_only: true, is_destructive: false, control: 0, is_anchored: false, ..untrusted() },
            "RequireConfirmation untrusted-destination",
        ),
        (
            Call {
                is_destructive: false,
                is_open_world: false,
                control: 3,
                is_anchored: false,
                ..untrusted()
            },
            "ProcessLocal own-records",
        ),
        (unread(send()), "RequireConfirmation readers"),
        (
            unread(Call { payload: Payload { confidentiality: 4, ..Payload::default() }, ..send() }),
            "Reject secrets-stay",
        ),
    ] {
        assert_eq!(said(&policies.call(&call)), expected, "{call:?}");
    }
}

#[test]
fn the_shipped_policy_about_messages() {
    let policies = shipped().unwrap();
    for (confidentiality, within_readers, expected) in [
        (1, true, "ProcessLocal messages"),
        (4, true, "ProcessLocal messages"),
        (2, false, "ProcessLocal messages"),
        (3, false, "Redact messages-to-others"),
    ] {
        let payload = Payload { confidentiality, within_readers, ..Payload::default() };
        let message =
            Message { speaker: "agent", channel: "Agent-User", integrity: 0, suspicion: 0, payload };
        assert_eq!(said(&policies.message(&message)), expected, "{confidentiality} {within_readers}");
    }
}

#[test]
fn the_strictest_that_applies_wins_and_all_that_say_it_are_named() {
    let all = [
        ("local", "ProcessLocal"),
        ("redact", "Redact"),
        ("tee", "ProcessInTee"),
        ("ask", "RequireConfirmation"),
        ("ask too", "RequireConfirmation"),
    ];
    let policy = |(id, effect): (&str, &str)| {
        format!("@id({id:?}) @effect({effect:?}) permit (principal, action, resource);")
    };
    let verified = || Call { payload: Payload { tee: true, ..send().payload }, ..send() };
    for (count, expected) in [
        (0, "Reject "),
        (1, "ProcessLocal local"),
        (2, "Redact redact"),
        (3, "ProcessInTee tee"),
        (4, "RequireConfirmation ask"),
        (5, "RequireConfirmation ask,ask too"),
    ] {
        let text: String = all[..count].iter().map(|one| policy(*one)).collect();
        assert_eq!(said(&read(&text).unwrap().call(&verified())), expected);
        let text = format!("{text} @id(\"no\") forbid (principal, action, resource);");
        assert_eq!(said(&read(&text).unwrap().call(&verified())), "Reject no");
    }
}

#[test]
fn an_environment_that_was_not_verified_is_what_the_policy_says_and_else_rejected() {
    let policy = |more: &str| {
        let text =
            format!("@id(\"tee\") @effect(\"ProcessInTee\") {more} permit (principal, action, resource);");
        read(&text).unwrap()
    };
    let verified = Call { payload: Payload { tee: true, ..send().payload }, ..send() };
    assert_eq!(said(&policy("").call(&verified)), "ProcessInTee tee");
    assert_eq!(said(&policy("").call(&send())), "Reject tee");
    assert_eq!(
        said(&policy("@unverified(\"RequireConfirmation\")").call(&send())),
        "RequireConfirmation tee"
    );
}

#[test]
fn what_is_wrong_is_said() {
    for (policy, expected) in [
        ("@effect(\"Allow\") permit (principal, action, resource);", "@effect(\"Allow\") is not known"),
        ("@effect(\"Reject\") permit (principal, action, resource);", "does not go with it"),
        ("@effect(\"Redact\") forbid (principal, action, resource);", "does not go with it"),
        ("@unverified(\"Redact\") permit (principal, action, resource);", "alone"),
        ("@decision(\"ask\") permit (principal, action, resource);", "@decision is not known"),
        ("permit (principal == App::\"main\", action, resource);", "App"),
        (
            "permit (principal, action == Action::\"call\", resource) when { context.suspicion > 1 };",
            "work.cedar:1:",
        ),
        ("permit (principal, action == Action::\"connect\", resource);", "connect"),
        (
            "@id(\"a\") permit (principal, action, resource); @id(\"a\") permit (principal, action, resource);",
            "two policies",
        ),
        (
            &format!("permit (principal, action, resource) when {{ {}true }};", "!".repeat(999)),
            "more than 200 operators",
        ),
    ] {
        let said = read(policy).unwrap_err();
        assert!(said.contains(expected), "{policy}\n{said}");
    }
}

#[test]
fn a_policy_that_fails_rejects() {
    let text = r#"permit (principal, action == Action::"call", resource);
        @id("sum") @effect("Redact") permit (principal, action == Action::"call", resource)
        when { context.risk + 9223372036854775807 > 0 };"#;
    let risky = Call { payload: Payload { risk: 1, ..send().payload }, ..send() };
    let ruling = read(text).unwrap().call(&risky);
    assert_eq!(ruling.effect, Effect::Reject);
    assert!(ruling.failure.unwrap().contains("sum"));
}

static POLICIES: std::sync::LazyLock<Policies> = std::sync::LazyLock::new(|| shipped().unwrap());

proptest! {
    /// Whatever is known of a call, the shipped policy says something, and less trust never makes it milder.
    #[test]
    fn less_trust_is_never_milder(
        bits in proptest::array::uniform8(any::<bool>()),
        control in 0u8..4,
        confidentiality in 0u8..5,
    ) {
        let [is_known, is_read_only, is_destructive, is_open_world, after_untrusted_read, anchored, within_readers, _] = bits;
        let payload = Payload { confidentiality, within_readers, ..Payload::default() };
        let call = Call {
            is_known, is_read_only, is_destructive, is_open_world, after_untrusted_read, control,
            is_anchored: anchored && control > 0, payload: payload.clone(), ..send()
        };
        let policies = &*POLICIES;
        let ruling = policies.call(&call);
        prop_assert!(!ruling.policies.is_empty(), "{call:?}");
        let worse = [
            Call { is_known: false, is_read_only: false, is_destructive: true, is_open_world: true, ..call.clone() },
            Call { is_read_only: false, ..call.clone() },
            Call { is_destructive: true, ..call.clone() },
            Call { is_open_world: true, ..call.clone() },
            Call { after_untrusted_read: true, ..call.clone() },
            Call { control: 0, is_anchored: false, ..call.clone() },
            Call { is_anchored: false, ..call.clone() },
            Call { payload: Payload { within_readers: false, ..payload.clone() }, ..call.clone() },
            Call { payload: Payload { confidentiality: 4, ..payload }, ..call.clone() },
        ];
        for worse in worse {
            let other = policies.call(&worse);
            prop_assert!(other.effect >= ruling.effect, "{call:?} {ruling:?}\n{worse:?} {other:?}");
        }
    }
}

#[test]
fn a_text_is_told_by_the_actions_it_names() {
    let is_meant = |text: &str| is_meant(&PolicyText { name: "p.cedar".into(), text: text.into() });
    assert!(is_meant(SHIPPED));
    assert!(is_meant("forbid (principal, action in [Action::\"message\"], resource);"));
    assert!(!is_meant("forbid (principal, action == Action::\"connect\", resource);"));
    assert!(!is_meant("// action == Action::\"call\"\npermit (principal, action, resource);"));
    assert!(!is_meant("permit (principal"));
}
