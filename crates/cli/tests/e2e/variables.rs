//! Variables that hold a secret are known by what they are called, or by what they hold.

use crate::outgoing::Host;

for_root_and_user! {
    fn what_variables_hold_that_are_called_so_leaves_for_nobody(world) {
        let host = Host::new();
        world.must(&["run", "--detach", "--name", "desk", "--allow", &host.rule(), "--", "sleep", "infinity"]);
        let url = host.url("/");
        // Whatever they are called, and of what holds one the part that it is; what only reads like one goes.
        let all = [
            ("DB_PWD", "kYtZqLmXw", true),
            ("SESSION_COOKIE", "theme=dark; sid=w8Rt-5Kpq-22Xm", true),
            ("AUTH", "Bearer n4Vb-8Hjs-61Qz", true),
            ("PIN", "83920174", true),
            ("SALT", "9f86d081884c7d65", true),
            ("GPG_PASSPHRASE", "correct horse battery", true),
            ("PRIVATE_SEED", "c3ab8ff13720e8ad9047dd39466b3c89", true),
            ("SENTRY_DSN", "https://b5d4045c3f466fa91fe2@sentry.example/42", true),
            ("HOOK_WEBHOOK_URL", "https://hooks.example/in/Tz7QwX3pLk9RvB2n", true),
            ("PRIVATE_REGISTRY", "registry1.corp.example", false),
            ("OLDPWD", "/srv/Projects-2024/Shop", false),
        ];
        for (name, value, is_kept) in all {
            let script = format!("curl -sS -i --max-time 60 -d \"it is $(echo \"${name}\" | sed 's/theme=dark; //; s/.* sid=//'); so\" {url}");
            let mut command = world.command(&["exec", "desk", "--env", name, "--", "sh", "-c", &script]);
            command.env(name, value);
            let said = world.run(command).succeeded();
            assert!(said.contains(if is_kept { "403 Forbidden" } else { "200 OK" }), "{name}: {said}");
        }
    }
}
