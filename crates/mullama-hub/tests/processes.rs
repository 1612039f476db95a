//! Pulls in separate processes: killed, concurrent, on disks that are full or not writable. The
//! test program runs itself, as the test `child`.

mod common;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{CHUNK, World, options};
use mullama_hub::{Source, Store, pull};
use mullama_test_registry::{Fault, Registry};

const ROOT: &str = "MULLAMA_HUB_TEST_STORE";
const HOST: &str = "MULLAMA_HUB_TEST_HOST";
const SOURCE: &str = "MULLAMA_HUB_TEST_SOURCE";

/// Run by the other tests as a process: pulls, and prints the result.
#[test]
fn child() {
    let (Ok(root), Ok(host), Ok(source)) =
        (std::env::var(ROOT), std::env::var(HOST), std::env::var(SOURCE))
    else {
        return;
    };
    let mut options = options(&Registry::start());
    options.endpoints.registry = format!("http://{host}");
    options.retries = 1;
    options.insecure = true;
    let source = Source::parse(&source).unwrap();
    match pull(&Store::at(root), &source, options) {
        Ok(model) => println!("pulled {}", model.name),
        Err(error) => {
            println!("failed {}: {error}; {}", error.kind(), error.hint().unwrap_or_default());
        }
    }
    if let Some(peak) = peak_memory() {
        println!("peak {peak}");
    }
}

fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The command of a process that pulls `library/m`.
fn command(world: &World, root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    environment(&mut command, world, root);
    command.args(["--exact", "child", "--nocapture"]);
    command
}

/// The same command in a shell that runs `before` first.
#[cfg(unix)]
fn shell(world: &World, root: &Path, before: &str) -> Command {
    let mut command = Command::new("sh");
    environment(&mut command, world, root);
    let program = std::env::current_exe().unwrap();
    command.args(["-c", &format!("{before} exec \"$0\" --exact child --nocapture")]).arg(program);
    command
}

fn environment(command: &mut Command, world: &World, root: &Path) {
    command
        .env(ROOT, root)
        .env(HOST, world.registry.host())
        .env(SOURCE, world.name("library/m").full())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn wait(mut child: Child) -> String {
    let end = Instant::now() + Duration::from_secs(120);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "the child hangs");
        std::thread::sleep(Duration::from_millis(5));
    }
    said(&child.wait_with_output().unwrap())
}

#[test]
fn processes_that_pull_the_same_model_download_it_once() {
    let world = World::with_model(20 * CHUNK);
    world.registry.fault("/blobs/", 999, Fault::Slow(20 << 20));
    let root = world.store.root();
    let children: Vec<Child> = (0..3).map(|_| command(&world, root).spawn().unwrap()).collect();
    for child in children {
        assert!(wait(child).contains("pulled"));
    }
    world.check(&[world.name("library/m")]);
    let size = world.store.list().unwrap()[0].size;
    assert!(world.registry.sent("/blobs/") < size + 3 * 500);
    assert!(
        world.files().iter().all(|file| !file.starts_with("downloads/")),
        "{:?}",
        world.files()
    );
}

#[test]
fn killed_pulls_lose_at_most_one_part() {
    const PART: u64 = 8 << 20;
    let size = 60 * CHUNK;
    let world = World::with_model(size);
    world.registry.fault("/blobs/", 9999, Fault::Slow(15 << 20));
    let mut kills = 0;
    // Succeeds in the end, even though it is killed again and again.
    loop {
        let mut child = command(&world, world.store.root()).spawn().unwrap();
        let end = Instant::now() + Duration::from_millis(500 + 37 * kills);
        while child.try_wait().unwrap().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        if child.try_wait().unwrap().is_some() {
            assert!(wait(child).contains("pulled"));
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        assert!(kills < 50);
        world.check(&[]);
    }
    assert!(kills > 0, "it was never killed");
    world.check(&[world.name("library/m")]);
    // Includes data in socket buffers at the time of a kill.
    let again = world.registry.sent("/blobs/").saturating_sub(size as u64);
    assert!(again <= kills * PART, "{again} bytes again after {kills} kills");
}

#[test]
fn killed_pulls_leave_no_partial_models() {
    let world = World::with_model(3 * CHUNK);
    let root = world.store.root().to_owned();
    for i in 0..40 {
        let mut child = command(&world, &root).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(i * 3));
        let _ = child.kill();
        child.wait().unwrap();
        let listed = world.store.list().unwrap().len();
        world.check(&[world.name("library/m")][..listed]);
        if i % 5 == 4 {
            let _ = world.store.remove(&world.name("library/m"));
        }
    }
    world.pull("library/m").unwrap();
    world.check(&[world.name("library/m")]);
}

#[test]
fn a_pull_needs_little_memory() {
    let world = World::with_model(150 * CHUNK);
    let said = wait(command(&world, world.store.root()).spawn().unwrap());
    assert!(said.contains("pulled"), "{said}");
    if let Some(peak) = said.lines().find_map(|line| line.strip_prefix("peak ")) {
        assert!(peak.parse::<u64>().unwrap() < 64 << 10, "{peak} KiB");
    }
}

#[cfg(unix)]
#[test]
fn failed_writes_are_reported_and_resumed() {
    let size = 20 * CHUNK;
    let world = World::with_model(size);
    // Limits the size of files, in units of 512 or 1024 bytes.
    let limit = "trap '' XFSZ; ulimit -f 10240;";
    let said = wait(shell(&world, world.store.root(), limit).spawn().unwrap());
    assert!(said.contains("failed Io"), "{said}");
    world.check(&[]);
    world.pull("library/m").unwrap();
    world.check(&[world.name("library/m")]);
}

/// Whether this user may mount file systems.
#[cfg(target_os = "linux")]
fn can_mount() -> bool {
    let probe = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "x", "/mnt"]).status();
    let can = probe.is_ok_and(|status| status.success());
    if !can {
        println!("skipped: no file system can be mounted here");
    }
    can
}

/// Pulls on a disk of `mib` MiB, after the shell commands `then`.
#[cfg(target_os = "linux")]
fn on_a_disk(world: &World, mib: usize, then: &str) -> String {
    let root = world.folder.path().join("disk");
    std::fs::create_dir_all(&root).unwrap();
    let inner = shell(world, &root.join("models"), then);
    let mut command = Command::new("unshare");
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap());
    }
    let script = format!("mount -t tmpfs -o size={mib}m x '{}' && {then}", root.display());
    command
        .args(["-rm", "sh", "-c"])
        .arg(format!("{script} \"$0\" --exact child --nocapture; ls -lR '{}'", root.display()))
        .arg(std::env::current_exe().unwrap());
    said(&command.output().unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn insufficient_disk_space_is_reported_before_downloading() {
    if !can_mount() {
        return;
    }
    let world = World::with_model(20 * CHUNK);
    let said = on_a_disk(&world, 40, "");
    assert!(said.contains("failed Io") && said.contains("bytes are needed"), "{said}");
    assert!(said.contains("besides a reserve of 64 MiB"), "{said}");
    assert!(said.contains("MULLAMA_MODELS"), "{said}");
    assert_eq!(world.registry.sent("/blobs/"), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn disk_filling_up_during_a_pull_is_an_error() {
    if !can_mount() {
        return;
    }
    let world = World::with_model(40 * CHUNK);
    world.registry.fault("/blobs/", 999, Fault::Slow(2 << 20));
    // The disk has space when the pull starts, and is filled as soon as it has started.
    let disk = world.folder.path().join("disk");
    let fill = format!(
        "{{ (cd '{}'; until ls models/downloads/* > /dev/null 2>&1; do sleep 0.01; done; \
         head -c 200m /dev/zero > filler) 2>&1 & }};",
        disk.display()
    );
    let said = on_a_disk(&world, 120, &fill);
    assert!(said.contains("failed Io"), "{said}");
    assert!(said.contains("free space"), "{said}");
    assert!(!said.contains(" sha256-") || !said.contains("latest"), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn read_only_disks_are_reported() {
    if !can_mount() {
        return;
    }
    let world = World::with_model(10);
    let root = world.folder.path().join("disk");
    let then = format!("mkdir '{0}/models' && mount -o remount,ro '{0}';", root.display());
    let said = on_a_disk(&world, 40, &then);
    assert!(said.contains("failed Io") && said.contains("MULLAMA_MODELS"), "{said}");
}

#[test]
fn proxy_is_used_for_other_hosts_only() {
    let world = World::with_model(10);
    for (source, proxied) in
        [("models.test/library/m".to_owned(), true), (world.name("library/m").full(), false)]
    {
        let output = command(&world, &world.folder.path().join(proxied.to_string()))
            .env(SOURCE, &source)
            .env("http_proxy", world.registry.url())
            .env("no_proxy", "direct.test")
            .output()
            .unwrap();
        assert!(said(&output).contains("pulled"), "{output:?}");
        let seen = world.registry.take_requests();
        let hosts: Vec<_> = seen.iter().filter(|seen| seen.method == "CONNECT").collect();
        assert_eq!(!hosts.is_empty(), proxied, "this machine is reached without one");
        assert!(hosts.iter().all(|seen| seen.path.contains("models.test")), "{seen:?}");
    }
    // The host in `no_proxy` is contacted directly; this one does not exist.
    let output = command(&world, world.store.root())
        .env(SOURCE, "direct.test/library/m")
        .env("http_proxy", world.registry.url())
        .env("no_proxy", "direct.test")
        .output()
        .unwrap();
    assert!(said(&output).contains("failed Download"), "{output:?}");
    assert!(world.registry.take_requests().is_empty());
}

#[test]
fn a_proxy_that_fails_is_named() {
    let world = World::with_model(10);
    let registry = world.registry.url();
    let fails = |variables: &[(&str, &str)]| {
        let mut command = command(&world, world.store.root());
        command.env(SOURCE, "models.test/library/m").env_remove("no_proxy").env_remove("NO_PROXY");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let said = said(&output);
        let line = said.lines().find(|line| line.starts_with("failed ")).unwrap_or_default();
        assert!(!line.is_empty() && !line.contains("secret"), "{output:?}");
        line.to_owned()
    };
    // No proxy listens there, and this host does not exist.
    for (variable, address) in [
        ("http_proxy", "http://user:secret@127.0.0.1:9"),
        ("ALL_PROXY", "127.0.0.1:9"),
        ("all_proxy", "http://nowhere.invalid:9/"),
    ] {
        let line = fails(&[(variable, address)]);
        assert!(line.starts_with("failed Download"), "{line}");
        let host = if address.contains("127") { "127.0.0.1:9" } else { "nowhere.invalid:9" };
        assert!(line.contains(&format!("through the proxy {host} ({variable})")), "{line}");
        assert!(line.contains(&format!("check {variable}")), "the hint: {line}");
    }
    // Invalid proxies are refused; the host is never contacted without one.
    for address in [
        "ftp://host:1",
        "http://",
        "a b",
        "secret@",
        "socks5://user:secret@127.0.0.1:9",
        "http://:9",
    ] {
        let line = fails(&[("http_proxy", address), ("all_proxy", &registry)]);
        assert!(line.starts_with("failed InvalidArgument: http_proxy "), "{address}: {line}");
        assert_eq!(line.contains("SOCKS5"), address.starts_with("socks"), "{line}");
        // Hosts in `NO_PROXY` use none, whatever it is.
        let line = fails(&[("http_proxy", address), ("NO_PROXY", "other.test, models.test")]);
        assert!(line.starts_with("failed Download"), "{address}: {line}");
    }
    assert!(world.registry.take_requests().is_empty());
}
