//! Names the model by its content, so that a copy of it can be told from that of another version.

fn main() {
    println!("cargo:rerun-if-changed=demo.gguf");
    let bytes = std::fs::read("demo.gguf").expect("demo.gguf lies beside this script");
    // FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    println!("cargo:rustc-env=MULLAMA_DEMO_FINGERPRINT={hash:016x}");
}
