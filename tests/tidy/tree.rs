//! The repository's text files in memory, or a made-up tree for the checks' own tests. It must
//! never look into build output, data or version control.

use std::collections::BTreeMap;
use std::path::Path;

use tests::world::binaries::repository;

/// Folders at the top that aren't part of the repository's text.
const OUTSIDE: [&str; 5] = [".git", "target", "data", "bench", "node_modules"];
/// Larger files are data.
const BYTES_MAX: u64 = 2 * 1024 * 1024;

/// Text by path; paths are relative, with `/`.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: BTreeMap<String, String>,
    /// All paths, also of what isn't text.
    pub(crate) paths: Vec<String>,
}

impl Tree {
    pub(crate) fn of_the_repository() -> Self {
        let mut tree = Self::default();
        tree.read(&repository(), "");
        assert!(tree.files.len() > 20, "this isn't the repository");
        tree
    }

    #[cfg(test)]
    pub(crate) fn planted(files: &[(&str, &str)]) -> Self {
        let files: BTreeMap<String, String> =
            files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let paths = files.keys().cloned().collect();
        Self { files, paths }
    }

    /// The Rust sources.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(|(path, _)| Path::new(path).extension().is_some_and(|suffix| suffix == "rs"))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    fn read(&mut self, folder: &Path, prefix: &str) {
        for entry in std::fs::read_dir(folder).expect("a folder of the tree is readable") {
            let entry = entry.expect("a folder of the tree is readable");
            let name = entry.file_name().into_string().expect("names are UTF-8");
            let path = format!("{prefix}{name}");
            if prefix.is_empty() && OUTSIDE.contains(&name.as_str()) {
                continue;
            }
            let kind = entry.file_type().expect("an entry has a type");
            if kind.is_dir() {
                self.paths.push(path.clone());
                self.read(&entry.path(), &format!("{path}/"));
            } else if kind.is_file() {
                self.paths.push(path.clone());
                let small = entry.metadata().is_ok_and(|meta| meta.len() <= BYTES_MAX);
                if let Some(text) =
                    small.then(|| std::fs::read_to_string(entry.path()).ok()).flatten()
                {
                    self.files.insert(path, text);
                }
            }
        }
    }
}
