//! Lets the program find the engine's libraries beside itself. The library gets no such path: it is
//! to use those that its process has loaded, or to fail.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        // The old kind of tag, which the engine's libraries follow too when they need each other.
        Ok("linux") => {
            println!("cargo:rustc-link-arg-bins=-Wl,--disable-new-dtags,-rpath,$ORIGIN");
        }
        Ok("macos") => println!("cargo:rustc-link-arg-bins=-Wl,-rpath,@loader_path"),
        _ => {}
    }
}
