//! Races, cut connections, large objects, and runs that are ended and started again.

use std::time::Duration;

use base64::Engine;
use serde_json::json;

use crate::harness::*;
use crate::kit::{Ground, apply, arguments};
use crate::support::apiserver::{How, Server, Who};
use crate::support::proxy::{Fault, Proxy};

/// The real `kubectl proxy`: the server on a port without TLS, so that a proxy with faults can be in front of it.
pub(crate) struct Plain {
    child: std::process::Child,
    pub(crate) port: u16,
}

impl Plain {
    pub(crate) fn of(server: &Server) -> Plain {
        let port = crate::support::registry::free_port();
        let child = std::process::Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(server.kubeconfig(Who::Admin, How::Token))
            .args(["proxy", "--port", &port.to_string()])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        until("kubectl proxy answers", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Plain { child, port }
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_answer_that_is_cut_ends_it_and_the_same_command_does_the_rest() {
    let Some(ground) = Ground::new() else { return };
    if !have("kubectl") {
        return;
    }
    let plain = Plain::of(ground.server);
    for (n, fault) in [Fault::CutBody(20), Fault::Reset, Fault::LoseAnswer, Fault::CutHead(10)].into_iter().enumerate()
    {
        let names = ["a", "b", "c"].map(|name| format!("{name}-{n}"));
        let objects = names.clone().map(|name| ground.map(&name, json!({ "key": "1" })));
        let dir = ground.folder(&objects);
        let proxy = Proxy::start(Some(plain.port));
        let config = ground.server.kubeconfig_at(&format!("http://{}", proxy.host()));
        // Comparing `b` is one PATCH, writing it is the second.
        proxy.on("PATCH", ground.at(&names[1]), 1, Fault::Pass);
        proxy.on("PATCH", ground.at(&names[1]), 99, fault.clone());
        let run = apply(50, &config, &dir, &[]);
        assert_eq!(run.outcomes(), format!("{} created, {} not-applied, {} not-applied", names[0], names[1], names[2]));
        run.says(&["run the same command again"]);
        assert_eq!(run.document["applied"]["error"]["code"], "destination");
        assert!(ground.is_there(&names[0]) && !ground.is_there(&names[2]), "{fault:?}");
        proxy.clear();
        let run = apply(0, &config, &dir, &[]);
        assert!(run.outcomes().ends_with(&format!("{} created", names[2])), "{}", run.outcomes());
        assert!(run.outcomes().starts_with(&format!("{} unchanged", names[0])), "{}", run.outcomes());
        assert_eq!(ground.data(&names[1]), json!({ "key": "1" }));
    }
}

#[test]
fn what_changed_after_the_comparison_is_not_overwritten() {
    let Some(ground) = Ground::new() else { return };
    if !have("kubectl") {
        return;
    }
    let server = ground.server;
    let plain = Plain::of(server);
    let proxy = Proxy::start(Some(plain.port));
    let config = server.kubeconfig_at(&format!("http://{}", proxy.host()));
    let body = |data| ground.map("raced", data);
    server.create(&ground.maps(), &body(json!({ "key": "theirs" })));
    // Compared with a dry run by force and one without; then the write waits.
    proxy.on("PATCH", ground.at("raced"), 2, Fault::Pass);
    proxy.on("PATCH", ground.at("raced"), 1, Fault::Hold(4000));
    let dir = ground.folder(&[body(json!({ "key": "ours" }))]);
    let run = std::thread::scope(|scope| {
        let run = scope.spawn(|| apply(53, &config, &dir, &["--overwrite"]));
        until("the write is on its way", || proxy.count("PATCH", &ground.at("raced")) >= 3);
        assert_eq!(server.request("PUT", &ground.at("raced"), Some(&body(json!({ "key": "newer" })))).0, 200);
        run.join().unwrap()
    });
    assert_eq!(run.outcomes(), "raced failed");
    run.says(&["changed on the cluster after it was compared", "run the same command again"]);
    assert_eq!(ground.data("raced"), json!({ "key": "newer" }));
    proxy.clear();
    apply(0, &config, &dir, &["--overwrite"]);
    assert_eq!(ground.data("raced"), json!({ "key": "ours" }));
}

#[test]
fn what_was_created_after_the_comparison_is_not_overwritten() {
    let Some(ground) = Ground::new() else { return };
    if !have("kubectl") {
        return;
    }
    let server = ground.server;
    let plain = Plain::of(server);
    for (name, theirs, code, outcome) in [("other", "theirs", 52, "differs"), ("same", "ours", 0, "")] {
        let proxy = Proxy::start(Some(plain.port));
        let config = server.kubeconfig_at(&format!("http://{}", proxy.host()));
        proxy.on("PATCH", ground.at(name), 1, Fault::Pass);
        proxy.on("PATCH", ground.at(name), 1, Fault::Hold(4000));
        let dir = ground.folder(&[ground.map(name, json!({ "key": "ours" }))]);
        let run = std::thread::scope(|scope| {
            let run = scope.spawn(|| apply(code, &config, &dir, &["--overwrite"]));
            until("the write is on its way", || proxy.count("PATCH", &ground.at(name)) >= 2);
            server.create(&ground.maps(), &ground.map(name, json!({ "key": theirs })));
            run.join().unwrap()
        });
        assert!(run.outcomes().contains(outcome), "{}", run.outcomes());
        assert_eq!(ground.data(name), json!({ "key": theirs }));
    }
}

#[test]
fn a_map_as_large_as_a_cluster_takes_is_applied_and_then_unchanged() {
    let Some(ground) = Ground::new() else { return };
    // The server counts the decoded values of a map: 1 MiB, if the program takes a file of that size.
    let size = (1 << 20).min(mirror_bundle::kubernetes::MAX_BYTES * 3 / 4 - 1024);
    let value = base64::engine::general_purpose::STANDARD.encode(crate::support::noise(size, 1));
    let mut full = ground.map("full", json!({}));
    full["binaryData"] = json!({ "key": value });
    assert_eq!(ground.apply(0, std::slice::from_ref(&full), &["--dry-run"]).outcomes(), "full created");
    assert_eq!(ground.apply(0, std::slice::from_ref(&full), &[]).outcomes(), "full created");
    assert_eq!(ground.apply(0, std::slice::from_ref(&full), &[]).outcomes(), "full unchanged");
    assert_eq!(ground.server.get(&ground.at("full"))["binaryData"]["key"], value);
    let other = ground.map("full", json!({ "more": "1" }));
    let run = ground.apply(52, &[other], &[]);
    assert!(run.said().len() < 20_000, "a value of a mebibyte is not shown");
}

#[test]
fn ctrl_c_ends_a_wait_and_the_same_command_does_the_rest() {
    let Some(ground) = Ground::new() else { return };
    if !have("kubectl") {
        return;
    }
    let plain = Plain::of(ground.server);
    for (n, signal, ends) in [(0, "-INT", Some(130)), (1, "-TERM", None), (2, "-KILL", None)] {
        let proxy = Proxy::start(Some(plain.port));
        let config = ground.server.kubeconfig_at(&format!("http://{}", proxy.host()));
        let names = ["a", "b", "c"].map(|name| format!("{name}-{n}"));
        let dir = ground.folder(&names.clone().map(|name| ground.map(&name, json!({ "key": "1" }))));
        proxy.on("PATCH", ground.at(&names[1]), 1, Fault::Pass);
        proxy.on("PATCH", ground.at(&names[1]), 99, Fault::Silence);
        let side = Side::start(&mut command(&arguments(&config, &dir, &[])));
        until("the write of b waits", || proxy.count("PATCH", &ground.at(&names[1])) >= 2);
        assert!(ground.is_there(&names[0]));
        side.signal(signal);
        let (code, said) = side.end(Duration::from_secs(20));
        if let Some(code_expected) = ends {
            assert_eq!(code, Some(code_expected), "{said}");
        }
        assert!(!ground.is_there(&names[2]));
        proxy.clear();
        let run = apply(0, &config, &dir, &[]);
        assert!(run.outcomes().starts_with(&format!("{} unchanged", names[0])), "{}", run.outcomes());
        assert!(names.iter().all(|name| ground.is_there(name)));
    }
}

#[test]
fn a_server_that_ends_while_it_is_asked_is_unreachable() {
    let Some(server) = Server::bare() else { return };
    let space = server.namespace();
    let config = server.kubeconfig(Who::Admin, How::Token);
    let dir = folder();
    let own = dir.path().join("own");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("a.yaml"), crate::kit::map(&space, "a", json!({ "key": "1" })).to_string()).unwrap();
    apply(0, &config, &own, &[]);
    kill(server.pid());
    until("it is gone", || server.request("GET", "/readyz", None).0 == 0);
    for more in [&[][..], &["--dry-run"]] {
        apply(50, &config, &own, more).says(&["refused", "nothing was changed on the cluster"]);
    }
}

/// Kills a process.
fn kill(pid: u32) {
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}
