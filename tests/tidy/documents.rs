//! Documents rot; this finds names of files that aren't there, in the code map's code spans and in
//! every document's relative links.

use crate::tree::Tree;

const CODE_MAP: &str = "docs/architecture.md";
/// Endings that make a code span the name of a file.
const FILE_ENDINGS: [&str; 8] = [".rs", ".md", ".toml", ".sql", ".lua", ".sh", ".csv", "/"];

pub(crate) fn violations(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    match tree.files.get(CODE_MAP) {
        None => found.push(format!("{CODE_MAP} is missing")),
        Some(text) => {
            for name in spans(text).filter(|name| is_file_name(name)) {
                if !exists(tree, name) {
                    found.push(format!("{CODE_MAP} names {name}, which isn't there"));
                }
            }
        }
    }
    let documents = tree.files.iter().filter(|(path, _)| path.to_lowercase().ends_with(".md"));
    for (path, text) in documents {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for link in links(text) {
            let target = resolve(folder, link.split('#').next().unwrap_or_default());
            if !target.is_empty() && !tree.paths.contains(&target) {
                found.push(format!("{path} links to {link}, which isn't there"));
            }
        }
    }
    found
}

/// What stands between single backticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.starts_with("```"))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

fn is_file_name(span: &str) -> bool {
    FILE_ENDINGS.iter().any(|ending| span.ends_with(ending))
        && !span.starts_with(['/', '.'])
        && !span.contains([' ', '*', '<', '{', '…', ':', '$'])
}

/// A path from the top, or the last parts of one: `ledger.rs`, `http/list.rs`.
fn exists(tree: &Tree, name: &str) -> bool {
    let name = name.trim_end_matches('/');
    let tail = format!("/{name}");
    tree.paths.iter().any(|path| path == name || path.ends_with(&tail))
        // Written by running the programs, ignored by git.
        || name.starts_with("bench/report")
        || matches!(name, "data" | "target" | "bench")
}

/// Relative targets of Markdown links.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
        .filter(|link| !link.contains("://") && !link.starts_with(['#', '/']))
}

fn resolve(folder: &str, link: &str) -> String {
    if link.is_empty() {
        return String::new();
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nothing_are_found() {
        let tree = Tree::planted(&[
            (CODE_MAP, "See `ledger.rs`, `gone.rs`, `GET /api/x/` and `src/ledger.rs`.\n"),
            (
                "README.md",
                "[a](docs/architecture.md#top) [b](docs/gone.md) [c](https://x.example/y)\n",
            ),
            ("docs/decisions/1.md", "[up](../architecture.md) [no](../../gone)\n"),
            ("store-node/src/ledger.rs", "//! x\n"),
        ]);
        assert_eq!(
            violations(&tree),
            [
                "docs/architecture.md names gone.rs, which isn't there",
                "README.md links to docs/gone.md, which isn't there",
                "docs/decisions/1.md links to ../../gone, which isn't there",
            ]
        );
    }

    #[test]
    fn a_missing_code_map_is_found() {
        assert_eq!(violations(&Tree::planted(&[("README.md", "")])).len(), 1);
    }
}
