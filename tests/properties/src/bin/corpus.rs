//! `cargo run -p properties --bin corpus`: writes what can be made of the corpora anew. It must
//! never touch a regression.

use std::fs;
use std::io;

use properties::TARGETS;
use properties::corpus::{REGRESSION, folder, read, seeds};

fn main() -> io::Result<()> {
    for target in TARGETS {
        let folder = folder(target.name);
        fs::create_dir_all(&folder)?;
        for (name, _) in read(target.name)? {
            if !name.starts_with(REGRESSION) {
                fs::remove_file(folder.join(name))?;
            }
        }
        let seeds = seeds::of(target.name);
        for (name, bytes) in &seeds {
            fs::write(folder.join(name), bytes)?;
        }
        println!("{}: {} files", target.name, seeds.len());
    }
    Ok(())
}
