//! Small file systems of their own, in mount namespaces of their own: one that fills up, one whose
//! power fails. A process holds the namespace; when it ends, however that comes about, the mounts
//! and loop devices are gone. It must never mount anything where others can see it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::geteuid;

use crate::skip::succeeds;
use crate::world::process::{self, Output};
use crate::world::{Binaries, Process, ServiceSpec, until};

/// How long mounting and unmounting may take.
const MOUNT_DEADLINE: Duration = Duration::from_secs(20);
/// Ends a file system at once, with nothing written that wasn't: `EXT4_IOC_SHUTDOWN` with
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const SHUT_DOWN: &str = r#"open(my $d, "<", $ARGV[0]) or die "open: $!"; my $how = pack("L", 2); ioctl($d, 0x8004587d, $how) or die "ioctl: $!";"#;

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A tmpfs, for filling it.
    Memory,
    /// An ext4 in a file, for power cuts.
    Image,
}

/// A mounted file system. It goes with this value.
#[derive(Debug)]
pub struct Disk {
    holder: Process,
    place: PathBuf,
    image: PathBuf,
}

impl Disk {
    /// Mounts a new one at `place`; the inner error says why that can't be done here.
    pub async fn mount(
        binaries: &Binaries,
        kind: Kind,
        place: &Path,
        bytes: u64,
    ) -> Result<Result<Self, String>> {
        if !geteuid().is_root() {
            return Ok(Err("mounting needs root".to_owned()));
        }
        std::fs::create_dir_all(place).context("making a mount point")?;
        let image = place.with_extension("ext4");
        let (shown, file) = (place.display(), image.display());
        let mount = match kind {
            Kind::Memory => format!("mount -t tmpfs -o size={bytes} onhand '{shown}'"),
            Kind::Image => {
                for needed in ["mkfs.ext4", "perl"] {
                    if !succeeds("sh", &["-c", &format!("command -v {needed}")]) {
                        return Ok(Err(format!("{needed} isn't installed")));
                    }
                }
                format!(
                    "truncate -s {bytes} '{file}' && mkfs.ext4 -q -F '{file}' && mount -o loop \
                     '{file}' '{shown}'"
                )
            }
        };
        let script = format!("{mount} && exec sleep infinity");
        let mut arguments = vec![std::process::id().to_string()];
        arguments.extend(["unshare", "-m", "sh", "-c"].map(str::to_owned));
        arguments.push(script);
        let log = place.with_extension("mount.log");
        let holder = Process::start(&binaries.launch(), &arguments, &[], &log)?;
        let mut disk = Self { holder, place: place.to_path_buf(), image };
        Ok(disk.is_mounted().await?.map(|()| disk))
    }

    /// Waits for the mount; the inner error is what the system said against it.
    async fn is_mounted(&mut self) -> Result<Result<(), String>> {
        let shown = self.place.display().to_string();
        let id = self.holder.id().to_string();
        let holder = parking_lot::Mutex::new(&mut self.holder);
        until("a file system to be mounted", MOUNT_DEADLINE, || async {
            let mut holder = holder.lock();
            if !matches!(holder.exited(), Ok(None)) {
                return Some(Err(holder.log_tail().trim().replace('\n', "; ")));
            }
            // As long as it hasn't unshared, this looks into our own namespace and finds nothing.
            succeeds("nsenter", &["-t", &id, "-m", "mountpoint", "-q", &shown]).then_some(Ok(()))
        })
        .await
    }

    /// Where it is mounted, for those inside.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The same service, started inside; it keeps its own process id.
    pub fn inside(&self, mut spec: ServiceSpec) -> ServiceSpec {
        let mut arguments = self.enter();
        arguments.push(spec.program.display().to_string());
        arguments.append(&mut spec.arguments);
        spec.program = PathBuf::from("nsenter");
        spec.arguments = arguments;
        spec
    }

    /// Runs a program inside to its end.
    pub fn run(&self, program: &Path, arguments: &[&str]) -> Result<Output> {
        let (enter, program) = (self.enter(), program.display().to_string());
        let mut all: Vec<&str> = enter.iter().map(String::as_str).collect();
        all.push(&program);
        all.extend(arguments);
        process::run(Path::new("nsenter"), &all)
    }

    fn enter(&self) -> Vec<String> {
        let id = self.holder.id().to_string();
        vec!["-t".to_owned(), id, "-m".to_owned(), "--".to_owned()]
    }

    /// Fills it to the last byte.
    pub fn fill(&self) -> Result<()> {
        let filler = self.place.join("filler").display().to_string();
        // It ends with "No space left on device", which is what is wanted.
        self.run(Path::new("dd"), &["if=/dev/zero", &format!("of={filler}"), "bs=64k"])?;
        Ok(())
    }

    /// Makes room again.
    pub fn free(&self) -> Result<()> {
        let filler = self.place.join("filler").display().to_string();
        self.demand("rm", &["-f", &filler])
    }

    /// The power fails: what wasn't synced is lost, every call fails from now on.
    pub fn cut_power(&self) -> Result<()> {
        self.demand("perl", &["-e", SHUT_DOWN, &self.place.display().to_string()])
    }

    /// The power is back: mounts what is left. Whoever had files open must have ended.
    pub async fn restore_power(&self) -> Result<()> {
        let place = self.place.display().to_string();
        until("the cut file system to be let go", MOUNT_DEADLINE, || async {
            self.demand("umount", &[&place]).ok()
        })
        .await?;
        self.demand("mount", &["-o", "loop", &self.image.display().to_string(), &place])
    }

    fn demand(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let output = self.run(Path::new(program), arguments)?;
        if output.code != Some(0) {
            bail!("{program} {arguments:?}: {}", output.stderr.trim());
        }
        Ok(())
    }
}
