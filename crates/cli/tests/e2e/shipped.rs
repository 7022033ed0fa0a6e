//! The protocols that come with the program, each with real processes that take part.

use std::process::Stdio;

use crate::support::{Running, World, processes};

fn run(world: &World, name: &str, protocol: &str, roles: &[&str], script: &str) {
    let roles: Vec<&str> = roles.iter().flat_map(|role| ["--role", role]).collect();
    let start = ["run", "--detach", "--name", name, "--protocol", protocol];
    world.must(&[&start[..], &roles, &["--", "sh", "-c", script]].concat());
}

/// What a role hears next: its label, then what it carries.
fn heard(world: &World, session: &str, role: &str) -> (String, String) {
    let text = world.must(&["recv", session, "--as", role, "--with-label", "--timeout", "60s"]);
    let (label, payload) = text.split_once('\n').unwrap();
    (label.to_owned(), payload.to_owned())
}

fn said(label: &str, payload: &str) -> (String, String) {
    (label.to_owned(), payload.to_owned())
}

fn is_over(world: &World, session: &str) {
    processes::eventually("the conversation is over", || {
        (world.show(session)["protocol"]["status"]["kind"] == "closed").then_some(())
    });
    assert_eq!(world.show(session)["protocol"]["violations"], 0);
}

const AGENT: &str = "while heard=$(sessile recv . --as Agent --with-label); do
    case $heard in bye*) break ;; esac
    printf '%s' \"$heard\" | tail -n +2 | tr ' ' '\\n' | while IFS= read -r part || [ -n \"$part\" ]; do
        printf '%s' \"$part\" | sessile send . --as Agent User part -
    done
    sessile send . --as Agent User done
done
sleep infinity";

const WORKER: &str = "result() { sessile recv . --as Agent --with-label; }
sessile send . --as Agent Tools look victim; result
sessile send . --as Agent Tools look large; result | tail -n 1
sessile send . --as Agent Tools run 'rm kept' && echo obeyed
sessile send . --as Agent Human propose 'rm kept'; result
sessile send . --as Agent Human propose 'rm victim && echo gone'; result
sessile send . --as Agent Human finish 'all done'
sessile send . --as Agent Tools finish
sleep infinity";

const TOOLS: &str = "while heard=$(sessile recv . --as Tools --with-label); do
    call=$(printf '%s' \"$heard\" | tail -n +2)
    case $heard in
        look*) result=$(cat -- \"$call\" 2>&1) ;;
        run*) result=$(sh -c \"$call\" 2>&1) ;;
        finish*) break ;;
    esac
    if [ \"$(printf '%s' \"$result\" | wc -c)\" -gt 65536 ]; then
        result=\"$(printf '%s' \"$result\" | head -c 65000)
(cut after 65000 bytes)\"
    fi
    printf '%s' \"$result\" | sessile send . --as Tools Agent result -
done";

const CODER: &str = "
change() { printf '%s\\n' '--- a/greeting' '+++ b/greeting' '@@ -1 +1 @@' '-hello' \"+$1\" |
    sessile send . --as Coder Reviewer change -; }
change howdy; sessile recv . --as Coder --with-label
change hi; sessile recv . --as Coder --with-label
change 'good day'; sessile recv . --as Coder --with-label
sleep infinity";

const REVIEWER: &str = "
change() { sessile recv . --as Reviewer; }
change > /tmp/change; sessile send . --as Reviewer Coder comment 'less slang'
for round in 1 2; do change > /tmp/change; sessile send . --as Reviewer Approver accept - < /tmp/change; done
sessile send . --as Reviewer Apply approve - < /tmp/change && echo obeyed
sessile recv . --as Reviewer --with-label";

const APPLY: &str = "heard=$(\"$1\" recv change --as Apply --with-label)
case $heard in approve*) ;; *) exit 1 ;; esac
printf '%s\\n' \"$heard\" | tail -n +2 | patch -p1 &&
for role in Coder Reviewer; do \"$1\" send change --as Apply \"$role\" applied '' || exit; done";

for_root_and_user! {
    fn they_are_listed_and_explained(world) {
        let listed = world.must(&["protocol", "list"]);
        assert_eq!(listed.lines().count(), 3, "{listed}");
        for (name, roles) in [("@conversation", "User, Agent"), ("@tool-approval", "Agent, Human, Tools"), ("@review", "Coder, Reviewer, Approver, Apply")] {
            assert!(listed.contains(&format!("{name} ")) && listed.contains(roles), "{listed}");
            world.must(&["protocol", "check", name]);
            assert!(world.must(&["protocol", "explain", name]).contains("Roles, and what each does first"));
        }
        assert!(world.json(&["protocol", "list", "--json"])[1]["text"].as_str().unwrap().contains("protocol ToolApproval"));
        world.sessile(&["protocol", "explain", "@nothing"]).refused_with(66, &["protocol list"]);
    }

    fn an_agent_answers_in_parts(world) {
        run(world, "talk", "@conversation", &["User=operator", "Agent=app:main"], AGENT);
        for words in [&["what", "is", "new?"][..], &["and", "now?"]] {
            world.must(&["send", "talk", "--as", "User", "Agent", "prompt", &words.join(" ")]);
            for word in words {
                assert_eq!(heard(world, "talk", "User"), said("part", word));
            }
            assert_eq!(heard(world, "talk", "User"), said("done", ""));
        }
        world.must(&["send", "talk", "--as", "User", "Agent", "bye"]);
        is_over(world, "talk");
    }

    fn nothing_destructive_is_done_unless_a_human_passes_it_on(world) {
        let (kept, victim) = (world.write("kept", "kept\n"), world.write("victim", "here\n"));
        world.write("large", &"x".repeat(70_000));
        run(world, "work", "@tool-approval", &["Agent=app:main", "Human=operator", "Tools=app:tools"], WORKER);
        world.must(&["exec", "work", "--detach", "--app", "tools", "--", "sh", "-c", TOOLS]);
        // It was refused what it told the tools by itself.
        assert_eq!(heard(world, "work", "Human"), said("propose", "rm kept"));
        assert!(kept.exists() && world.must(&["output", "work"]).contains("result\nhere"));
        // What is longer than a line is cut, and the agent is not left waiting.
        assert!(world.must(&["output", "work"]).contains("(cut after 65000 bytes)"));
        world.must(&["send", "work", "--as", "Human", "Agent", "reject", "not that one"]);
        assert_eq!(heard(world, "work", "Human"), said("propose", "rm victim && echo gone"));
        assert!(victim.exists());
        world.must(&["send", "work", "--as", "Human", "Tools", "run", "rm victim && echo gone"]);
        assert_eq!(heard(world, "work", "Human"), said("finish", "all done"));
        assert!(kept.exists() && !victim.exists());
        processes::eventually("the conversation is over", || {
            (world.show("work")["protocol"]["status"]["kind"] == "closed").then_some(())
        });
        let output = world.must(&["output", "work"]);
        assert!(output.contains("reject\nnot that one") && output.contains("result\ngone"), "{output}");
        assert!(!output.contains("obeyed"), "{output}");
        assert_eq!(world.show("work")["protocol"]["violations"], 1);
    }

    fn two_persons_approve_what_is_applied(world) {
        let greeting = world.write("greeting", "hello\n");
        let reads = || std::fs::read_to_string(&greeting).unwrap();
        let roles = ["Coder=app:main", "Reviewer=app:reviewer", "Approver=operator", "Apply=operator:apply"];
        run(world, "change", "@review", &roles, CODER);
        world.must(&["exec", "change", "--detach", "--app", "reviewer", "--", "sh", "-c", REVIEWER]);
        let mut apply = world.command_behind(&["sh", "-c", APPLY, "sh"], &[]);
        apply.stdin(Stdio::null());
        let apply = Running::start(apply);
        let (label, change) = heard(world, "change", "Approver");
        assert!(label == "accept" && change.contains("+hi\n"), "{change}");
        world.must(&["send", "change", "--as", "Approver", "Coder", "object", "too short"]);
        let (_, change) = heard(world, "change", "Approver");
        assert!(change.contains("+good day\n"), "{change}");
        // The reviewer alone changes nothing.
        processes::eventually("the reviewer was refused", || {
            (world.show("change")["protocol"]["violations"] == 1).then_some(())
        });
        assert_eq!(reads(), "hello\n");
        let approve = ["send", "change", "--as", "Approver", "Apply", "approve", "-"];
        world.sessile_with_input(&approve, change.as_bytes()).succeeded();
        apply.finish().succeeded();
        assert_eq!(reads(), "good day\n");
        processes::eventually("the conversation is over", || {
            (world.show("change")["protocol"]["status"]["kind"] == "closed").then_some(())
        });
        let coder = world.must(&["output", "change"]);
        for heard in ["comment\nless slang", "object\ntoo short", "applied\n"] {
            assert!(coder.contains(heard), "{coder}");
        }
        assert!(!world.must(&["output", "change", "--app", "reviewer"]).contains("obeyed"));
    }
}
