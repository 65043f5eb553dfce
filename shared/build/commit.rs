//! The build script of the services and of the simulation: tells them the commit they are built
//! from, as `ONHAND_COMMIT`.
//!
//! The variable wins when it is set already. Otherwise the checkout around this file is read, a
//! worktree's too; where there is none, nothing is told and nothing fails.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the root of the checkout may be, seen from a package.
const ROOTS: [&str; 2] = ["..", "../.."];
const VARIABLE: &str = "ONHAND_COMMIT";

fn main() {
    println!("cargo:rerun-if-env-changed={VARIABLE}");
    for script in ROOTS.map(|root| Path::new(root).join("shared/build/commit.rs")) {
        if script.exists() {
            println!("cargo:rerun-if-changed={}", script.display());
        }
    }
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    if let Some(commit) = ROOTS
        .iter()
        .find_map(|root| git_dir(&Path::new(root).join(".git")))
        .and_then(|dir| commit_of(&dir))
    {
        println!("cargo:rustc-env={VARIABLE}={commit}");
    }
}

/// The directory of the checkout: `.git` itself, or where a worktree's file of that name points.
fn git_dir(place: &Path) -> Option<PathBuf> {
    if place.is_dir() {
        return Some(place.to_path_buf());
    }
    let text = fs::read_to_string(place).ok()?;
    let target = Path::new(text.strip_prefix("gitdir:")?.trim());
    Some(place.parent()?.join(target))
}

/// What `HEAD` names; whatever decides it is watched, so that the next commit is told too.
fn commit_of(dir: &Path) -> Option<String> {
    let head = read_watched(&dir.join("HEAD"))?;
    let Some(reference) = head.strip_prefix("ref:").map(str::trim) else {
        return hash(&head);
    };
    // A worktree shares the references of its main checkout.
    let common = fs::read_to_string(dir.join("commondir")).ok();
    let common = common.map_or_else(|| dir.to_path_buf(), |path| dir.join(path.trim()));
    let loose = [dir, &common].into_iter().find_map(|dir| read_watched(&dir.join(reference)));
    if let Some(commit) = loose {
        return hash(&commit);
    }
    let packed = read_watched(&common.join("packed-refs"))?;
    let line = packed.lines().find(|line| line.ends_with(&format!(" {reference}")))?;
    hash(line.split(' ').next()?)
}

fn read_watched(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    println!("cargo:rerun-if-changed={}", file.display());
    Some(text)
}

fn hash(text: &str) -> Option<String> {
    let text = text.trim();
    let is_hash = text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| text.to_owned())
}
