//! The shape of sources: files to 500 lines, functions to 70, and every file begins with what it is
//! for. Functions are found by their indentation, which rustfmt guarantees.

use crate::tree::Tree;

const FILE_LINES_MAX: usize = 500;
/// Code lines of a body, blank lines and comments not counted: clippy counts the same way.
const FUNCTION_LINES_MAX: usize = 70;

pub(crate) fn violations(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in tree.sources() {
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            found.push(format!("{path} has {} lines, more than {FILE_LINES_MAX}", lines.len()));
        }
        if !text.starts_with("//! ") {
            found.push(format!("{path} doesn't begin with `//!` and what it is for"));
        }
        for (number, length) in functions(&lines) {
            if length > FUNCTION_LINES_MAX {
                let line = number + 1;
                found.push(format!(
                    "{path}:{line}: a function of {length} lines, more than {FUNCTION_LINES_MAX}"
                ));
            }
        }
    }
    found
}

/// Line index and body length of each function.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let starts = lines.iter().enumerate().filter(|(_, line)| begins_function(line));
    starts
        .filter_map(|(start, line)| {
            let indent = &line[..line.len() - line.trim_start().len()];
            let body = (start..lines.len()).find(|index| ends_signature(lines[*index]))?;
            let closing = format!("{indent}}}");
            let is_open = lines[body].trim_end().ends_with('{');
            let end = (body..lines.len()).find(|index| lines[*index] == closing);
            let end = end.filter(|_| is_open)?;
            let code = lines[body + 1..end].iter().filter(|line| {
                let line = line.trim();
                !line.is_empty() && !line.starts_with("//")
            });
            Some((start, code.count()))
        })
        .collect()
}

fn begins_function(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words
        .by_ref()
        .find(|word| {
            let qualifier =
                matches!(*word, "const" | "async" | "extern") || word.starts_with("pub");
            !qualifier
        })
        .is_some_and(|word| word == "fn")
        && words.next().is_some()
}

/// The line on which a signature ends: with its brace, or a semicolon in a trait.
fn ends_signature(line: &str) -> bool {
    let line = line.trim_end();
    line.ends_with('{') || line.ends_with('}') || line.ends_with(';')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        let body = "        let x = 1;\n        // why\n\n".repeat(lines);
        format!(
            "//! A file.\nimpl A {{\n    pub(crate) async fn long(\n        a: u8,\n    ) -> u8 {{\n{body}    }}\n}}\n"
        )
    }

    #[test]
    fn a_long_function_is_found_and_one_at_the_limit_is_not() {
        let tree = Tree::planted(&[("a/src/a.rs", &function(71)), ("a/src/b.rs", &function(70))]);
        let found = violations(&tree);
        assert_eq!(found, ["a/src/a.rs:3: a function of 71 lines, more than 70"]);
    }

    #[test]
    fn a_long_file_and_a_missing_opening_are_found() {
        let long = "//! A file.\n".to_owned() + &"// line\n".repeat(500);
        let tree = Tree::planted(&[("a/src/a.rs", &long), ("a/src/b.rs", "fn main() {}\n")]);
        let found = violations(&tree);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn declarations_and_one_liners_end_where_they_stand() {
        let lines =
            ["trait T {", "    fn a(&self);", "    fn b(&self) {}", "}", "fn c() {", "    1;", "}"];
        assert_eq!(functions(&lines), [(4, 1)]);
    }
}
