//! Where the services' binaries are, and that they are built. `CARGO_BIN_EXE_…` doesn't reach
//! other packages, so cargo is asked to build them, once, with the profile and into the target
//! directory this program itself came from. It must never run a binary older than the sources.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// Set (by the Makefile) to a directory of binaries that are already built and up to date.
pub const BINARIES_VARIABLE: &str = "ONHAND_BIN_DIR";

/// The directory that holds `store-node`, `aggregator` and this package's own binaries.
#[derive(Debug, Clone)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// Finds the directory, and has cargo build the services there unless that has been done for
    /// this test run.
    pub fn built() -> Result<Self> {
        static BUILT: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
        let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
        match built {
            Ok(directory) => Ok(Self { directory: directory.clone() }),
            Err(reason) => bail!("{reason}"),
        }
    }

    /// The directory beside the running program, as it is: for the programs that the Makefile
    /// builds together with the services.
    pub fn beside_this_program() -> Result<Self> {
        let directory = profile_directory()?;
        let found = Self { directory };
        for program in [found.store_node(), found.aggregator(), found.launch()] {
            if !program.exists() {
                let path = program.display();
                bail!("{path} isn't built: run `cargo build --release --workspace --bins` first");
            }
        }
        Ok(found)
    }

    /// Programs in a directory of which nothing is known yet.
    pub fn in_directory(directory: &Path) -> Self {
        Self { directory: directory.to_path_buf() }
    }

    /// The store node's program.
    pub fn store_node(&self) -> PathBuf {
        self.directory.join("store-node")
    }

    /// The aggregator's program.
    pub fn aggregator(&self) -> PathBuf {
        self.directory.join("aggregator")
    }

    /// The program that starts another one so that it ends with whoever started it.
    pub fn launch(&self) -> PathBuf {
        self.directory.join("launch")
    }

    /// The benchmark's stateless peer.
    pub fn ceiling(&self) -> PathBuf {
        self.directory.join("ceiling")
    }

    /// The real-input replay.
    pub fn retail(&self) -> PathBuf {
        self.directory.join("retail")
    }

    /// The demonstration.
    pub fn demo(&self) -> PathBuf {
        self.directory.join("demo")
    }
}

/// The repository's root.
pub fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// `<target>/<profile>`: the folder of this program, or the one above a test's `deps`.
fn profile_directory() -> Result<PathBuf> {
    let program = std::env::current_exe().context("finding this program's own path")?;
    let folder = program.parent().context("a program has a folder around it")?;
    let profile = if folder.ends_with("deps") {
        folder.parent().context("deps has a folder around it")?
    } else {
        folder
    };
    Ok(profile.to_path_buf())
}

fn build() -> Result<PathBuf> {
    if let Some(ready) = std::env::var_os(BINARIES_VARIABLE) {
        let directory = PathBuf::from(ready);
        if directory.join("store-node").exists() {
            return Ok(directory);
        }
        bail!("{BINARIES_VARIABLE} is {}, but store-node isn't there", directory.display());
    }
    let directory = profile_directory()?;
    let target = directory.parent().context("a profile has a target folder")?;
    // One process per test: the first of a run builds, the others find its mark.
    let run = std::env::var("NEXTEST_RUN_ID").unwrap_or_default();
    let mark = target.join("onhand-built");
    let lock = std::fs::File::create(target.join("onhand-build.lock"))?;
    fs2::FileExt::lock_exclusive(&lock).context("waiting for the build lock")?;
    let already = !run.is_empty() && std::fs::read_to_string(&mark).is_ok_and(|text| text == run);
    if !already {
        cargo_build(&directory, target)?;
        std::fs::write(&mark, run)?;
    }
    Ok(directory)
}

fn cargo_build(directory: &Path, target: &Path) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(repository()).args([
        "build",
        "--quiet",
        "--workspace",
        "--bins",
        "--target-dir",
    ]);
    command.arg(target);
    if directory.ends_with("release") {
        command.arg("--release");
    }
    let output = command.output().context("running cargo build")?;
    if !output.status.success() {
        bail!("cargo build failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
