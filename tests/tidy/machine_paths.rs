//! Paths of the machine that something was written on have no place in a repository.

use crate::tree::Tree;

/// In two parts each, so that this file doesn't contain what it looks for.
const PATTERNS: [(&str, &str); 8] = [
    ("/home", "/"),
    ("/root", "/"),
    ("/work", "/main"),
    ("/work", "/shared"),
    ("/Users", "/"),
    ("/tmp", "/plan"),
    ("/tmp", "/target"),
    (".lib", "rary"),
];

pub(crate) fn violations(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in &tree.files {
        for (number, line) in (1..).zip(text.lines()) {
            for (first, second) in PATTERNS {
                let pattern = format!("{first}{second}");
                if line.contains(&pattern) {
                    let number: usize = number;
                    found.push(format!("{path}:{number} has {pattern}"));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_path_is_found() {
        let text = format!("run {}{}/x\n", "/home", "/somebody");
        assert_eq!(violations(&Tree::planted(&[("README.md", &text)])).len(), 1);
        assert!(violations(&Tree::planted(&[("README.md", "run ./x\n")])).is_empty());
    }
}
