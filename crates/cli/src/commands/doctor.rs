//! `doctor`: what this machine gives.

use sessile_model::property::Property;
use sessile_sandbox::survey::{Finding, Folders, Gives, claim_level, survey};

use crate::failure::{Failure, Outcome, Status};
use crate::output::{print, print_json, printable};
use crate::startup;

/// Explain, property by property, what this machine gives, and what mends the rest
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile doctor
  sessile doctor --json | jq '.findings[] | select(.gives.kind != \"full\")'

Exit code 1 when something is missing without which a session is refused.")]
pub struct Args {}

impl Args {
    /// Looks, and prints what was found.
    pub fn run(self, json: bool) -> Outcome {
        let folder = startup::current_folder()?;
        let folders = startup::folders().map(|f| Folders { runtime: f.runtime, state: f.state });
        let folders = folders.map_err(|failure| match failure {
            Failure::Problem(problem) => problem.detail,
            Failure::ClosedPipe => String::new(),
        });
        let findings = survey(&folder, folders.as_ref().map_err(String::as_str));
        let (level, residue) = claim_level();
        let missing = findings.iter().any(|f| f.gives == Gives::Missing);
        if json {
            print_json(&serde_json::json!({
                "findings": findings, "claim_level": level, "residue": residue, "missing": missing,
            }))?;
        } else {
            let mut text = report(&findings);
            text += &format!("\nclaim level of receipts: {level:?}\n");
            for line in &residue {
                text += &format!(
                    "  may remain after a wipe: {}: {}\n",
                    printable(&line.what),
                    printable(&line.why)
                );
                text += &line.mend.as_deref().map(|m| format!("      mend: {m}\n")).unwrap_or_default();
            }
            print(&text)?;
        }
        Ok(if missing { Status(1) } else { Status::OK })
    }
}

fn report(findings: &[Finding]) -> String {
    let mut text = String::new();
    for property in Property::ALL {
        let of_it: Vec<&Finding> = findings.iter().filter(|f| f.property == property).collect();
        let verdict = if of_it.iter().any(|f| f.gives == Gives::Missing) {
            "cannot hold here"
        } else if of_it.iter().any(|f| f.gives != Gives::Full) {
            "holds, weaker than defined"
        } else {
            "holds"
        };
        text += &format!("{}{property}: {verdict}\n", if text.is_empty() { "" } else { "\n" });
        for finding in of_it {
            let (mark, more) = match &finding.gives {
                Gives::Full => ("ok     ", String::new()),
                Gives::Weaker { what } => ("weaker ", format!(": {}", printable(what))),
                Gives::Missing => ("MISSING", String::new()),
            };
            text += &format!("  {mark}  {} ({}){more}\n", finding.feature, printable(&finding.detail));
            text += &finding.mend.as_deref().map(|m| format!("           mend: {m}\n")).unwrap_or_default();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_goes_property_by_property() {
        let finding = |property, feature: &str, gives, mend: Option<&str>| Finding {
            property,
            feature: feature.into(),
            gives,
            detail: "looked".into(),
            mend: mend.map(str::to_owned),
        };
        let weaker = Gives::Weaker { what: "storage may reach swap".into() };
        let findings = [
            finding(Property::Amnesia, "noswap", weaker, Some("swapoff -a")),
            finding(Property::Sandbox, "seccomp", Gives::Missing, None),
            finding(Property::Routing, "network namespaces", Gives::Full, None),
        ];
        insta::assert_snapshot!(report(&findings), @r"
        routing: holds
          ok       network namespaces (looked)

        identity: holds

        sandbox: cannot hold here
          MISSING  seccomp (looked)

        amnesia: holds, weaker than defined
          weaker   noswap (looked): storage may reach swap
                   mend: swapoff -a
        ");
    }
}
