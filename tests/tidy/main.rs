//! The repository lints itself: who imports whom, the size of files and functions, documentation
//! that names what exists, nothing of the machine it was written on. A check must be able to fail:
//! each has a test that plants what it looks for.

mod arrows;
mod documents;
mod machine_paths;
mod shape;
mod tree;

use tree::Tree;

/// Fails with the list of what was found.
fn expect_nothing(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn crates_import_only_what_the_architecture_allows() {
    let tree = Tree::of_the_repository();
    expect_nothing("forbidden imports", &arrows::violations(&tree));
}

#[test]
fn pure_crates_stay_pure() {
    let tree = Tree::of_the_repository();
    expect_nothing("impure code", &arrows::impurities(&tree));
}

#[test]
fn files_and_functions_are_short_and_say_what_they_are_for() {
    let tree = Tree::of_the_repository();
    expect_nothing("shape", &shape::violations(&tree));
}

#[test]
fn documents_name_only_what_exists() {
    let tree = Tree::of_the_repository();
    expect_nothing("names of nothing", &documents::violations(&tree));
}

#[test]
fn nothing_of_a_machine_is_in_the_repository() {
    let tree = Tree::of_the_repository();
    expect_nothing("paths of a machine", &machine_paths::violations(&tree));
}
