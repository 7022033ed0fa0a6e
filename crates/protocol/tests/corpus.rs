//! The `scribble` corpus: files that the reference tool, scribble-java, has judged, and machines that
//! it has printed. It lies beside the repository, in `shared/corpora`, or where `SESSILE_CORPORA` says.

#![allow(clippy::unwrap_used)]
// The crate reads no file; this test reads the corpus.
#![allow(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use sessile_protocol::{Act, Discipline, Limits, Projection, Source, check_all, project};

fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("SESSILE_CORPORA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora"), PathBuf::from);
    let folder = folder.join("scribble");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no scribble corpus (set SESSILE_CORPORA to the folder that has it)");
    None
}

/// Finds imported modules below the corpus, which lacks some that its files import. What these say is
/// known from the machines that the reference tool has printed of those files.
fn loader(folder: &Path) -> impl FnMut(&str) -> Option<String> {
    let folder = folder.to_owned();
    move |module| {
        let path = folder.join(format!("{}.scr", module.replace('.', "/")));
        let body = || {
            Some(match module {
                "good.misc.imports.pack2.Pack11" => {
                    "global protocol Pack11(role A, role B) { l1() from A to B; }"
                }
                "good.syntax.disamb.imports.pack1.Test4" | "good.syntax.inlinedunfolding.gdo.pack1.Test4" => {
                    "global protocol Proto4(role A, role B) { 4() from A to B; }"
                }
                "good.syntax.inlinedunfolding.gdo.pack1.test3.Test3" => {
                    "type <java> \"...\" from \"...\" as TTT;
                    global protocol Bar3(role A, role B) { bar3() from A to B; }"
                }
                _ => return None,
            })
        };
        let stand_in = || {
            let body = body()?;
            println!("{module} is not in the corpus: another stands in for it");
            Some(format!("module {module}; {body}"))
        };
        std::fs::read_to_string(path).ok().or_else(stand_in)
    }
}

/// Files with whether the reference tool accepts them.
fn labels(folder: &Path) -> Vec<(String, bool)> {
    let text = std::fs::read_to_string(folder.join("labels.tsv")).unwrap();
    let rows = text.lines().skip(1).map(|line| {
        let mut columns = line.split('\t');
        let good = columns.next().unwrap() == "good";
        (columns.next().unwrap().to_owned(), good)
    });
    rows.collect()
}

/// Everything that is wrong with a file.
fn problems(folder: &Path, file: &str, discipline: Discipline) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    let source = Source { name: file, text: &text };
    match check_all(&source, &mut loader(folder), discipline, Limits::default()) {
        Ok(judgements) => judgements.into_iter().filter_map(|j| j.problem).map(|d| d.to_string()).collect(),
        Err(diagnostics) => diagnostics.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn verdicts_are_those_of_the_reference_tool() {
    let Some(folder) = corpus() else { return };
    let labels = labels(&folder);
    let mut missed = Vec::new();
    for (file, good) in &labels {
        let problems = problems(&folder, file, Discipline::Scribble);
        if problems.is_empty() != *good {
            missed.push(format!("{file}: {}", problems.first().map_or("accepted", String::as_str)));
        }
        if std::env::var_os("SESSILE_SHOW").is_some() {
            println!("{file}\n{}\n", problems.join("\n"));
        }
    }
    println!("verdicts: {} of {}", labels.len() - missed.len(), labels.len());
    assert!(missed.is_empty(), "other verdicts:\n{}", missed.join("\n"));
}

/// A machine: for each state its steps by label, perhaps several with one.
type Machine = HashMap<usize, BTreeMap<String, BTreeSet<usize>>>;

/// The steps of several states together.
fn steps(machine: &Machine, states: &BTreeSet<usize>) -> BTreeMap<String, BTreeSet<usize>> {
    let mut all: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (label, targets) in states.iter().filter_map(|state| machine.get(state)).flatten() {
        all.entry(label.clone()).or_default().extend(targets);
    }
    all
}

/// Whether two machines have the same runs: both are determinised as they are walked.
fn same(one: (&Machine, usize), other: (&Machine, usize)) -> bool {
    let mut open = vec![(BTreeSet::from([one.1]), BTreeSet::from([other.1]))];
    let mut seen = HashSet::new();
    while let Some(pair) = open.pop() {
        if !seen.insert(pair.clone()) {
            continue;
        }
        let (mine, theirs) = (steps(one.0, &pair.0), steps(other.0, &pair.1));
        if !mine.keys().eq(theirs.keys()) {
            return false;
        }
        open.extend(mine.into_values().zip(theirs.into_values()));
    }
    true
}

/// A machine as the reference tool prints it, and where it begins.
fn printed(text: &str) -> (Machine, usize) {
    let mut machine = Machine::new();
    let mut first = 0;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(header) = line.strip_prefix("des (") {
            first = header.split(',').next().unwrap().parse().unwrap();
            continue;
        }
        let (from, rest) = line.trim_matches(['(', ')']).split_once(",\"").unwrap();
        let (label, to) = rest.rsplit_once("\",").unwrap();
        let steps = machine.entry(from.parse().unwrap()).or_default();
        steps.entry(label.replace(' ', "")).or_default().insert(to.parse().unwrap());
    }
    (machine, first)
}

/// Our machine, with labels as the reference tool writes them.
fn projected(projection: &Projection) -> (Machine, usize) {
    let mut machine = Machine::new();
    for (state, steps) in projection.states.iter().enumerate() {
        for (step, next) in steps {
            let sign = match step.act {
                Act::Send => "!",
                Act::Receive => "?",
                Act::Connect => "!!",
                Act::Accept => "??",
                Act::Disconnect => "-/-",
            };
            let message = match step.message.find('(') {
                Some(0) => format!("EMPTY_OP{}", step.message),
                Some(_) => step.message.to_string(),
                None => format!("^{}()", step.message),
            };
            let label = format!("{}{sign}{message}", step.peer).replace(' ', "");
            machine.entry(state).or_default().entry(label).or_default().insert(*next);
        }
    }
    (machine, 0)
}

#[test]
fn machines_are_those_of_the_reference_tool() {
    let Some(folder) = corpus() else { return };
    let files: HashMap<String, String> = labels(&folder)
        .into_iter()
        .map(|(file, _)| (file.trim_end_matches(".scr").replace('/', "_"), file))
        .collect();
    let mut machines: Vec<PathBuf> =
        std::fs::read_dir(folder.join("efsm")).unwrap().map(|entry| entry.unwrap().path()).collect();
    machines.sort();
    let mut missed = Vec::new();
    for path in &machines {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let mut parts = name.rsplitn(3, "__");
        let (role, protocol) = (parts.next().unwrap(), parts.next().unwrap());
        let file = &files[parts.next().unwrap()];
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let source = Source { name: file, text: &text };
        let ours = project(&source, &mut loader(&folder), Some(protocol), role, Limits::default());
        let (theirs, first) = printed(&std::fs::read_to_string(path).unwrap());
        match ours.map(|ours| projected(&ours)) {
            Ok((ours, start)) if same((&ours, start), (&theirs, first)) => {}
            Ok((ours, _)) => missed.push(format!("{name}: {ours:?}")),
            Err(diagnostics) => missed.push(format!("{name}: {}", diagnostics[0])),
        }
    }
    println!("machines: {} of {}", machines.len() - missed.len(), machines.len());
    assert!(missed.is_empty(), "other machines:\n{}", missed.join("\n"));
}

/// How many files each discipline accepts, and why those that Scribble rejects are implementable.
#[test]
fn the_complete_discipline_accepts_more() {
    let Some(folder) = corpus() else { return };
    let (mut more, mut less) = (Vec::new(), Vec::new());
    for (file, good) in labels(&folder) {
        let complete = problems(&folder, &file, Discipline::Complete);
        let reason =
            |problems: &[String]| problems.first().map_or("", |p| p.lines().next().unwrap()).to_owned();
        if good && !complete.is_empty() {
            less.push(format!("{file}: {}", reason(&complete)));
        }
        if !good && complete.is_empty() {
            more.push(format!(
                "{file}: Scribble says {}",
                reason(&problems(&folder, &file, Discipline::Scribble))
            ));
        }
    }
    println!("Scribble rejects, and they can be implemented: {}\n{}", more.len(), more.join("\n"));
    println!("Scribble accepts, and the complete discipline does not: {}\n{}", less.len(), less.join("\n"));
}
