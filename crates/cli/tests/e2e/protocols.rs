//! Protocol files: checked, and shown.

use std::fs;

const TALK: &str = "module talk;
import common.Words as Words;
global protocol Talk(role User, role Agent) {
    rec Round {
        ask(Words.Text) from User to Agent;
        choice at Agent { answer(Words.Text) from Agent to User; continue Round; }
        or { bye() from Agent to User; }
    }
}
";

const WORDS: &str = "module common.Words;\ntype <rust> \"String\" from \"std\" as Text;\n";

/// The second role is told nothing of what the first has chosen.
const WRONG: &str = "module wrong;
global protocol Wrong(role A, role B, role C) {
    choice at A { 1() from A to B; 1() from C to B; }
    or { 2() from A to B; 2() from C to B; }
}
";

for_root_and_user! {
    fn protocols_are_checked_with_what_they_import(world) {
        let talk = world.file_beside("talk.scr", TALK);
        let check = ["protocol", "check", &talk];
        world.sessile(&check).refused_with(64, &["error[P011]", "talk.scr:2:8", "1 error"]);
        let words = world.file_beside("elsewhere/common/Words.scr", WORDS);
        let elsewhere = world.folder().join("elsewhere");
        let elsewhere = elsewhere.to_str().unwrap();
        let with = ["protocol", "check", "--import-path", elsewhere, &talk];
        assert_eq!(world.must(&with), format!("{talk}  talk.Talk  accepted\n"));
        world.file_beside("common/Words.scr", WORDS);
        world.must(&check);
        fs::remove_file(&words).unwrap();
        world.must(&with);
        world.sessile(&["protocol", "check", "/nonexistent.scr"]).refused_with(66, &["/nonexistent.scr"]);
        // The others are judged all the same.
        let some = world.sessile(&["protocol", "check", "/nonexistent.scr", "--import-path", elsewhere, &talk, "/no.scr"]);
        some.refused_with(66, &["cannot read /nonexistent.scr", "cannot read /no.scr"]);
        assert_eq!(some.text(), format!("{talk}  talk.Talk  accepted\n"));
        let one = format!("{talk}#Talk");
        assert_eq!(world.must(&["protocol", "check", &one]), format!("{talk}  talk.Talk  accepted\n"));
        world.sessile(&["protocol", "check", &format!("{talk}#Other")]).refused_with(64, &["P014", "there are Talk", "FILE#NAME"]);
        world.sessile(&["protocol", "check", &format!("{talk}#")]).refused_with(64, &["talk.scr#Name"]);
        // Nothing of this needs a daemon.
        world.sessile(&["daemon", "status"]).refused_with(66, &[]);
    }

    fn what_is_wrong_is_said_with_the_place_and_a_run(world) {
        let (wrong, small) = (world.file_beside("wrong.scr", WRONG), world.file_beside("small.scr",
            "module small; global protocol Small(role A, role B) { m() from A to B; }"));
        let finished = world.sessile(&["protocol", "check", &small, &wrong]);
        finished.refused_with(64, &["error[P052]", "wrong.scr:4:27", "1. A sends 1() to B", "2. C sends 2() to B", "1 error"]);
        assert!(finished.text().contains("small.Small  accepted\n"), "{}", finished.text());
        assert!(finished.text().contains("wrong.Wrong  refused\n"), "{}", finished.text());
        assert!(!finished.err.contains('\x1b'), "{}", finished.err);

        let finished = world.sessile(&["protocol", "check", "--json", &wrong]);
        finished.refused_with(64, &["1 error"]);
        let report: serde_json::Value = serde_json::from_str(&finished.text()).unwrap();
        assert_eq!(report[0]["protocols"][0]["verdict"], "refused");
        assert_eq!(report[0]["protocols"][0]["problem"]["place"]["line"], 4);
        for command in [&["protocol", "project", &wrong, "A"][..], &["protocol", "explain", &wrong]] {
            world.sessile(command).refused_with(64, &["error[P052]", "wrong.scr is refused"]);
        }

        let terminal = world.terminal(&["protocol", "check", &wrong]);
        terminal.expect_bytes(b"\x1b[1;31merror[P052]\x1b[0m");
        assert_eq!(terminal.finish(), 64);
    }

    fn a_protocol_is_shown_by_roles_and_as_a_diagram(world) {
        let talk = world.file_beside("talk.scr", TALK);
        world.file_beside("common/Words.scr", WORDS);
        let table = world.must(&["protocol", "project", &talk, "User"]);
        assert!(table.contains("sends ask(common.Words.Text) to Agent"), "{table}");
        let dot = world.must(&["protocol", "project", &talk, "User", "--dot"]);
        assert!(dot.starts_with("digraph \"Talk@User\" {"), "{dot}");
        let machine = world.json(&["protocol", "project", &format!("{talk}#Talk"), "User", "--json"]);
        assert_eq!(machine["states"][0]["steps"][0]["act"], "send");
        world.sessile(&["protocol", "project", &talk, "Nobody"]).refused_with(64, &["no role Nobody", "User, Agent"]);
        world.sessile(&["protocol", "explain", &format!("{talk}#Other")]).refused_with(64, &["P014"]);
        let explained = world.must(&["protocol", "explain", &talk]);
        assert!(explained.contains("├─ ask(common.Words.Text) ─") && explained.contains("┌─ Agent chooses"), "{explained}");
        let svg = world.must(&["protocol", "explain", &talk, "--svg"]);
        assert!(svg.starts_with("<svg ") && svg.contains(">bye()</text>"), "{svg}");
    }
}
