//! Finds `aque-node` and `aque`, built by the same cargo, in the same profile and target directory as the test itself.
//!
//! Cargo builds the programs of a package for integration tests of that package only, so the first test that needs them asks
//! cargo to (a look at file times when they are fresh). `AQUE_PROGRAMS=DIR` names programs to be used as they are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the programs are.
#[derive(Debug)]
pub struct Programs {
    /// The daemon.
    pub node: PathBuf,
    /// The client.
    pub aque: PathBuf,
    /// What tasks run, of this package.
    pub witness: PathBuf,
}

/// Returns the programs, built if need be. Cargo's own lock keeps two test processes apart, the cell two tests of one process.
///
/// # Panics
/// If they cannot be built.
pub fn programs() -> &'static Programs {
    static FOUND: OnceLock<Programs> = OnceLock::new();
    FOUND.get_or_init(|| match std::env::var_os("AQUE_PROGRAMS") {
        Some(named) => inside(Path::new(&named), &target_dir()),
        None => {
            let beside = target_dir();
            build(&beside);
            inside(&beside, &beside)
        }
    })
}

fn inside(folder: &Path, own: &Path) -> Programs {
    let found = |folder: &Path, name: &str| {
        let path = folder.join(name);
        assert!(path.is_file(), "there is no program {}", path.display());
        path
    };
    Programs {
        node: found(folder, "aque-node"),
        aque: found(folder, "aque"),
        witness: found(own, "witness"),
    }
}

/// Returns `target/PROFILE` of a test that runs as `target/PROFILE/deps/NAME`.
fn target_dir() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own path");
    let folder = own.parent().expect("a test lies in a folder");
    let folder = if folder.ends_with("deps") {
        folder.parent()
    } else {
        Some(folder)
    };
    folder
        .expect("cargo puts tests below target/PROFILE/deps")
        .to_owned()
}

fn build(folder: &Path) {
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let made = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            // Whatever is chosen besides decides which features dependencies have: as for `cargo test --workspace`, they are
            // compiled once.
            "--workspace",
            "--bins",
            "--profile",
            profile,
        ])
        .arg("--target-dir")
        .arg(
            folder
                .parent()
                .expect("a profile's folder lies in the target folder"),
        )
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(
        made.status.success(),
        "cargo could not build the programs:\n{said}"
    );
}
