//! Rust types of the control API, made from the same .proto files that the Python half uses.

use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let ours = here.join("../../xds/protos");
    let skeleton = here.join("protos");
    let mut files = vec![skeleton.join("skeleton.proto")];
    find(&ours.join("midstream"), &mut files)?;
    for file in &files {
        println!("cargo:rerun-if-changed={}", file.display());
    }
    println!("cargo:rerun-if-changed={}", ours.display());
    let descriptors = protox::compile(&files, [&ours, &skeleton])?;
    prost_build::Config::new().include_file("all.rs").compile_fds(descriptors)?;
    Ok(())
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
