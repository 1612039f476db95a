//! Sets the library search path of the program to its own folder, so that it starts outside cargo.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        // RPATH instead of RUNPATH: it also applies to dependencies between the engine's libraries.
        Ok("linux") => {
            println!("cargo:rustc-link-arg-bins=-Wl,--disable-new-dtags,-rpath,$ORIGIN");
        }
        Ok("macos") => println!("cargo:rustc-link-arg-bins=-Wl,-rpath,@loader_path"),
        _ => {}
    }
}
