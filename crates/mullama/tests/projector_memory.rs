//! Compares the memory of a projector with the allocator's count. It is the only test of its process, since the count
//! includes other tests.

use std::path::Path;

use mullama::{ContextParams, Model, ModelParams};
use mullama_testkit::{PROJECTOR_WIDTH, Sight, allocated_bytes, fixture, skip, write_projector};

/// Bytes that loading a model with this projector allocates, and those that its placement has for the projector.
fn loaded(projector: &Path, eager: bool) -> (u64, u64) {
    let params = ModelParams::default()
        .with_projector(projector.to_string_lossy())
        .with_load_projector(eager);
    let before = allocated_bytes();
    let context = ContextParams::default().with_n_threads(1);
    let model = Model::load(fixture("tiny"), params, context).unwrap();
    let host = model.placement().devices.last().unwrap().projector;
    (allocated_bytes() - before, host)
}

/// Compares two projectors: the difference excludes allocations that both have.
#[test]
fn projector_memory_matches_the_plan() {
    if allocated_bytes() == 0 {
        return skip("the allocator does not tell what it has given");
    }
    let dir = tempfile::tempdir().unwrap();
    let large = dir.path().join("large.gguf");
    write_projector(&large, Sight::Llava, 8 * PROJECTOR_WIDTH, 64, 42).unwrap();
    let small = fixture("projector");
    // The first load also makes allocations that are never freed.
    loaded(&large, true);
    let (lazy, _) = loaded(&large, false);
    let (large_bytes, large_planned) = loaded(&large, true);
    let (small_bytes, small_planned) = loaded(&small, true);
    let (allocated, planned) = (large_bytes - small_bytes, large_planned - small_planned);
    assert!(planned > 2_000_000, "{planned}");
    assert!(allocated.abs_diff(planned) < planned / 20, "{allocated}, planned {planned}");
    assert!(lazy + large_planned < large_bytes + 100_000, "{lazy} {large_bytes}");
}
