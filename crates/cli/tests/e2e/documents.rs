//! Tables in the documents say what the program has.

use std::collections::BTreeSet;

use sessile_model::ProblemKind;
use sessile_model::receipt::WipeStep;

/// The first cells of a document's table rows, without code marks.
fn first_cells(document: &str) -> BTreeSet<String> {
    let rows = document.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    rows.map(|cell| cell.trim_matches('`').to_owned()).collect()
}

#[test]
fn the_readme_has_every_exit_code_and_no_other() {
    let cells = first_cells(include_str!("../../../../README.md"));
    let documented: BTreeSet<u8> = cells.iter().filter_map(|cell| cell.parse().ok()).collect();
    let mut known: BTreeSet<u8> = ProblemKind::ALL.iter().map(|kind| kind.exit_code()).collect();
    known.extend([0, 141]);
    assert_eq!(documented, known);
}

#[test]
fn the_receipts_document_has_every_step() {
    let cells = first_cells(include_str!("../../../../docs/receipt.md"));
    for step in WipeStep::ALL {
        assert!(cells.contains(step.as_str()), "docs/receipt.md lacks {}", step.as_str());
    }
}
