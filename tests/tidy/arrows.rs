//! Who may import whom: the services meet only in the bytes of the frame and in `shared::wire`.

use crate::tree::Tree;

/// A crate's folder, its name in code, and the workspace crates it may use.
const CRATES: [(&str, &str, &[&str]); 9] = [
    ("shared", "shared", &[]),
    ("event-log/threading", "threading", &[]),
    ("event-log", "event_log", &["threading"]),
    ("store-node", "store_node", &["shared", "event_log", "threading"]),
    ("aggregator", "aggregator", &["shared", "event_log"]),
    (
        "tests/properties",
        "properties",
        &["shared", "event_log", "store_node", "aggregator", "tests"],
    ),
    (
        "tests/simulation",
        "simulation",
        &["shared", "event_log", "store_node", "aggregator", "tests"],
    ),
    ("tests/concurrency", "concurrency", &["shared", "threading", "event_log", "store_node"]),
    (
        "tests",
        "tests",
        &[
            "shared",
            "threading",
            "event_log",
            "store_node",
            "aggregator",
            "simulation",
            "concurrency",
            "properties",
        ],
    ),
];

/// What the domain must not touch: disk, network, clock, threads, randomness.
const IMPURE: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "SystemTime",
    "Instant::now",
    "std::env",
    "tokio::",
    "RandomState",
];

pub(crate) fn violations(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (folder, own, allowed) in CRATES {
        let forbidden: Vec<&str> = CRATES
            .iter()
            .map(|(_, name, _)| *name)
            .filter(|name| *name != own && !allowed.contains(name))
            .collect();
        let manifest = tree.files.get(&format!("{folder}/Cargo.toml"));
        for line in manifest.map_or("", String::as_str).lines() {
            let key = line.split(['=', '.', ' ']).next().unwrap_or_default();
            if forbidden.contains(&key.replace('-', "_").as_str()) && line.contains('=') {
                found.push(format!("{folder}/Cargo.toml depends on {key}"));
            }
        }
        let prefix = format!("{folder}/");
        for (path, text) in tree.sources().filter(|(path, _)| path.starts_with(&prefix)) {
            for (number, line) in code_lines(text) {
                for name in &forbidden {
                    if names_crate(line, name) {
                        found.push(format!("{path}:{number} uses {name}"));
                    }
                }
            }
        }
    }
    found
}

pub(crate) fn impurities(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in tree.sources() {
        for (number, line) in code_lines(text) {
            if path.starts_with("shared/src/")
                && let Some(name) = IMPURE.iter().find(|name| line.contains(*name))
            {
                found.push(format!("{path}:{number}: the domain is pure, no {name}"));
            }
            let is_disk = path.starts_with("event-log/src/storage/disk");
            let is_test = path.contains("/tests") || path.contains("/examples/");
            if path.starts_with("event-log/src/")
                && !is_disk
                && !is_test
                && line.contains("std::fs")
            {
                found.push(format!("{path}:{number}: only storage/disk.rs touches the disk"));
            }
        }
    }
    found
}

/// The lines that are neither comments nor inside the unit tests at a file's end, numbered from 1.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines())
        .take_while(|(_, line)| *line != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Whether the line has `name::` as a path's beginning.
fn names_crate(line: &str, name: &str) -> bool {
    let pattern = format!("{name}::");
    line.match_indices(&pattern).any(|(place, _)| {
        let before = line[..place].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planted_arrows_are_found() {
        let tree = Tree::planted(&[
            (
                "store-node/Cargo.toml",
                "[dependencies]\nshared.workspace = true\naggregator = { path = \"../aggregator\" }\n",
            ),
            ("event-log/src/lib.rs", "//! x\nuse shared::sku::Sku;\n"),
            (
                "aggregator/src/a.rs",
                "//! x\n// store_node::x is only named\nfn a() { store_node::serve(); }\nfn b() { self::shared::x(); }\n",
            ),
            ("store-node/src/fine.rs", "//! x\nuse shared::sku::Sku;\nuse crate::aggregator::x;\n"),
        ]);
        let found = violations(&tree);
        assert_eq!(
            found,
            [
                "event-log/src/lib.rs:2 uses shared",
                "store-node/Cargo.toml depends on aggregator",
                "aggregator/src/a.rs:3 uses store_node",
            ]
        );
    }

    #[test]
    fn planted_impurities_are_found() {
        let tree = Tree::planted(&[
            (
                "shared/src/rules.rs",
                "//! x\nlet now = SystemTime::now();\n#[cfg(test)]\nuse std::fs;\n",
            ),
            ("event-log/src/log.rs", "use std::fs::File;\n"),
            ("event-log/src/storage/disk.rs", "use std::fs::File;\n"),
        ]);
        assert_eq!(impurities(&tree).len(), 2);
    }
}
