//! Tries a few inputs of every target, always the same ones. The long run is `make fuzz`.

use std::process::Command;

#[test]
fn fuzz_targets_run_without_crashes() {
    let output = Command::new(env!("CARGO_BIN_EXE_mullama-fuzz"))
        .args(["run", "--inputs", "40"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    assert!(output.status.success(), "{said}");
    let rows: Vec<Vec<&str>> = said
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    for row in &rows[1..] {
        assert_eq!(row[2], if row[1] == "all" { row[2] } else { "40" }, "{row:?}");
        assert!(row[3] != "0", "nothing of {} is accepted", row[1]);
        assert!(row[4] != "0", "nothing of {} is refused", row[1]);
    }
}
