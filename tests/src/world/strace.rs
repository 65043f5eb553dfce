//! Programs whose system calls fail, or kill them, at a chosen place. The program keeps its own
//! process id; strace is a grandchild that ends with it. It must never trace what this run didn't
//! start.

use std::path::{Path, PathBuf};

use super::ServiceSpec;
use crate::skip::succeeds;

/// Whether programs may be traced here; if not, why.
pub fn can_trace() -> Result<(), String> {
    if succeeds("strace", &["-qq", "-o", "/dev/null", "true"]) {
        return Ok(());
    }
    Err("strace isn't installed or may not trace here".to_owned())
}

/// The same program with an injection as strace writes it (`fdatasync:error=EIO:when=8`; places
/// are counted in each thread; several calls are separated by commas). What was injected is told in the file `told`.
pub fn injected(mut spec: ServiceSpec, injection: &str, told: &Path) -> ServiceSpec {
    let call = injection.split(':').next().unwrap_or_default();
    let mut arguments = ["-D", "-f", "-q", "-o"].map(str::to_owned).to_vec();
    arguments.push(told.display().to_string());
    if !injection.contains("signal=") {
        // All other calls at full speed; signals aren't injected so (strace 6.1).
        arguments.push("--seccomp-bpf".to_owned());
    }
    arguments.extend(["-e".to_owned(), format!("trace={call}")]);
    arguments.extend(["-e".to_owned(), format!("inject={injection}")]);
    arguments.push(spec.program.display().to_string());
    arguments.append(&mut spec.arguments);
    spec.program = PathBuf::from("strace");
    spec.arguments = arguments;
    spec
}

/// Whether something was injected, by the file it is told in.
pub fn has_struck(told: &Path) -> bool {
    std::fs::read_to_string(told)
        .is_ok_and(|text| text.contains("INJECTED") || text.contains("killed by SIGKILL"))
}
