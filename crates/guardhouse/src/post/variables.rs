//! What apps were given in their environment, as far as it is secret. Nobody is among its readers: a host that is
//! to have one gets it by a credential, which the app never sees.

use sessile_guard::variable;
use sessile_model::spec::EnvVar;

use super::*;

/// Whose the values are that nobody in the session has said.
const SESSION: &str = "the session";

impl Post {
    /// Knows what of these is secret: by the variable's name, or by its form.
    pub fn give_variables(&mut self, variables: &[EnvVar]) {
        for EnvVar { name, value } in variables {
            let named = variable::secrets(name, value).into_iter();
            let mut secrets: Vec<Zeroizing<String>> =
                named.map(|one| Zeroizing::new(one.to_owned())).collect();
            let shown = if variable::is_folder(name) { value.clone() } else { format!("{name}={value}") };
            let inspected = self.inspector.inspect(Raw::new(shown));
            let is_one = |finding: &&Finding| {
                finding.category == Category::Secret && finding.confidentiality() >= Confidentiality::Critical
            };
            let found = inspected.findings().iter().filter(is_one);
            secrets.extend(found.map(|finding| Zeroizing::new(finding.value.expose().to_owned())));
            for secret in secrets {
                login::within(&secret).iter().for_each(|text| self.give_secret(text));
                self.give_secret(&secret);
            }
        }
    }

    /// Nobody's, unless it is known already.
    fn give_secret(&mut self, secret: &str) {
        if self.value_of(secret).is_none() {
            self.remember(Value {
                value: Text(secret.to_owned()),
                confidentiality: Confidentiality::Critical.degree(),
                owner: SESSION.to_owned(),
                readers: BTreeSet::new(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "k3Yq-Zt91-pLm4-wXyZ";

    fn given(variables: &[(&str, &str)]) -> Post {
        let mut post = Post::begin(&GuardSpec::default(), &Text("ab".repeat(32)), Memory::default()).unwrap();
        let variable = |(name, value): &(&str, &str)| EnvVar { name: (*name).into(), value: (*value).into() };
        post.give_variables(&variables.iter().map(variable).collect::<Vec<_>>());
        post
    }

    fn said(post: &mut Post, from: &str, to: &str, text: &str) -> Effect {
        let matter = Matter::Line {
            speaker: from.into(),
            by_operator: from == "operator",
            to: to.into(),
            label: Text::default(),
            payload: Text(STANDARD.encode(text)),
        };
        post.judge(1, 0, matter).effect
    }

    #[test]
    fn a_secret_is_known_by_its_name_or_its_form() {
        for (name, value, secret) in [
            ("DEPLOY_TOKEN", VALUE, VALUE),
            ("SETTING", "glpat-Zx71kdMm2x90Ttq3Wv8L", "glpat-Zx71kdMm2x90Ttq3Wv8L"),
            ("DATABASE_URL", "postgres://ann:Tr0ub4dor3xyz@db.example/shop", "Tr0ub4dor3xyz"),
            ("DB_PASSWORD", "swordfish", "swordfish"),
            ("BASIC_AUTH", "Basic YW5uOlRyMHViNGRvcjN4eXo=", "Tr0ub4dor3xyz"),
            ("API_TOKEN", "YW5uOlRyMHViNGRvcjN4eXo=", "Tr0ub4dor3xyz"),
            ("DATABASE_URL", "postgres://ann:Tr0ub%34dor3%78yz@db.example/shop", "Tr0ub4dor3xyz"),
        ] {
            let mut post = given(&[(name, value)]);
            let hidden = STANDARD.encode(format!("look here: {secret}"));
            for text in [format!("it is {secret} there"), format!("see {hidden}")] {
                assert_eq!(said(&mut post, "main", "operator", &text), Effect::Redact, "{name}");
            }
            assert_eq!(said(&mut post, "main", "operator", "all is well"), Effect::Pass);
        }
    }

    #[test]
    fn what_is_no_secret_or_stands_everywhere_is_not_known() {
        let mut post = given(&[
            ("DEBUG_KEY", "debug"),
            ("PIN_PASSWORD", "1234"),
            ("LANG", "en_GB.UTF-8"),
            ("GREETING", "good morning to all"),
            ("MODE_TOKEN", "production"),
        ]);
        assert_eq!(post.values.len(), 1, "a password of four digits is known by its form alone");
        assert!(post.inspector.registry().is_some_and(Registry::is_empty));
        let text = "debug 1234 en_GB.UTF-8 good morning to all production";
        assert_eq!(said(&mut post, "main", "operator", text), Effect::Pass);
    }

    #[test]
    fn what_is_given_has_room_before_what_was_learned() {
        let learned = |number: usize| Value {
            value: Text(format!("w{:016x}", (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))),
            confidentiality: 4,
            owner: "main".into(),
            readers: BTreeSet::new(),
        };
        let mut memory = Memory { values: (0..2000).map(learned).collect(), ..Memory::default() };
        let readers: BTreeSet<String> = ["host:a.example:80".to_owned()].into();
        let owner = SESSION.to_owned();
        memory.values.push(Value { value: Text(VALUE.into()), readers, owner, ..learned(0) });
        let variables = [EnvVar { name: "A_TOKEN".into(), value: VALUE.into() }];
        let (spec, key) = (GuardSpec::default(), Text("ab".repeat(32)));
        let mut post =
            Post::begin_given(Vault::on_the_heap(), &spec, &key, memory, Vec::new(), &variables).unwrap();
        assert_eq!(said(&mut post, "main", "operator", &STANDARD.encode(VALUE)), Effect::Redact);
        // Who was allowed to read it meanwhile still is.
        assert!(post.value_of(VALUE).unwrap().readers.contains("host:a.example:80"));
    }

    #[test]
    fn who_was_told_one_before_stays_its_reader() {
        let mut post = given(&[]);
        let readers: BTreeSet<String> = ["host:a.example:80".to_owned()].into();
        let value = Value { value: Text(VALUE.into()), confidentiality: 4, owner: SESSION.into(), readers };
        post.give(vec![value]);
        post.give_variables(&[EnvVar { name: "A_TOKEN".into(), value: VALUE.into() }]);
        assert!(post.value_of(VALUE).unwrap().readers.contains("host:a.example:80"));
    }
}
