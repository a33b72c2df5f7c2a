//! How the cluster is found: kubeconfigs, contexts, the service account of a pod, proxies.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::harness::*;
use crate::kit::{Applied, Ground, checked};
use crate::support::apiserver::{How, Who};
use crate::support::registry::free_port;

/// `apply --dry-run` of a folder without `--kubeconfig`, in an environment.
fn plan(code: i32, folder: &Path, more: &[&str], environment: &[(&str, &str)]) -> Applied {
    let mut all = args!["apply", folder, "--dry-run", "--allow-unsigned", "--allow-kind", "ConfigMap", "-o", "json"];
    all.extend(more.iter().map(std::ffi::OsString::from));
    checked(code, finish(command(&all).envs(environment.iter().copied())))
}

fn user(run: &Applied) -> String {
    run.document["applied"]["cluster"]["user"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_kubeconfig_is_taken_from_the_flag_the_variable_or_the_home_folder() {
    let Some(ground) = Ground::new() else { return };
    let dir = ground.folder(&[ground.map("a", json!({ "key": "1" }))]);
    let admin = ground.server.kubeconfig(Who::Admin, How::Token).display().to_string();
    let nobody = ground.server.kubeconfig(Who::Nobody, How::Token).display().to_string();
    let home = ground.path().join("home");
    std::fs::create_dir_all(home.join(".kube")).unwrap();
    std::fs::copy(&admin, home.join(".kube/config")).unwrap();
    let home = home.display().to_string();
    plan(51, &dir, &[], &[]).says(&["no cluster is known"]);
    assert_eq!(user(&plan(0, &dir, &[], &[("HOME", &home)])), "admin");
    assert_eq!(user(&plan(0, &dir, &[], &[("KUBECONFIG", &admin)])), "admin");
    assert_eq!(user(&plan(51, &dir, &[], &[("KUBECONFIG", &nobody), ("HOME", &home)])), "nobody");
    assert_eq!(user(&plan(0, &dir, &["--kubeconfig", &admin], &[("KUBECONFIG", &nobody)])), "admin");
    // Of a list kubectl passes over files that do not exist.
    let list = format!("/nonexistent/config:{admin}");
    assert_eq!(user(&plan(0, &dir, &[], &[("KUBECONFIG", &list)])), "admin");
    plan(2, &dir, &["--kubeconfig", "/nonexistent/config"], &[]);
}

#[test]
fn a_context_is_chosen_by_name_and_shown() {
    let Some(ground) = Ground::new() else { return };
    let dir = ground.folder(&[ground.map("a", json!({ "key": "1" }))]);
    let login = |who: Who| json!({ "name": who.name(), "user": { "token": who.token() } });
    let context =
        |who: Who| json!({ "name": format!("as-{}", who.name()), "context": { "cluster": "c", "user": who.name() } });
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "as-nobody",
        "clusters": [{ "name": "c", "cluster": { "server": ground.server.url(), "certificate-authority": ground.server.dir.join("ca.crt") } }],
        "users": [login(Who::Admin), login(Who::Nobody)],
        "contexts": [context(Who::Admin), context(Who::Nobody)],
    });
    let path = ground.path().join("contexts");
    std::fs::write(&path, config.to_string()).unwrap();
    let path = path.display().to_string();
    let config = ["--kubeconfig", path.as_str()];
    assert_eq!(user(&plan(51, &dir, &config, &[])), "nobody");
    let run = plan(0, &dir, &[&config[..], &["--context", "as-admin"]].concat(), &[]);
    assert_eq!(run.document["applied"]["cluster"]["context"], "as-admin");
    assert_eq!(user(&run), "admin");
    plan(2, &dir, &[&config[..], &["--context", "as-somebody"]].concat(), &[]).says(&["as-somebody"]);
}

#[test]
fn in_a_pod_its_service_account_is_used() {
    let Some(ground) = Ground::new() else { return };
    let mounts = || Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|out| out.status.success());
    if !mounts() {
        skip("unshare -m needs root");
        return;
    }
    let dir = ground.folder(&[ground.map("a", json!({ "key": "1" }))]);
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let script = format!(
        "mkdir -p {account} && mount -t tmpfs tmpfs {account} && printf %s admin-token >{account}/token &&
         printf %s {} >{account}/namespace && cp {} {account}/ca.crt && exec \"$0\" \"$@\"",
        ground.space,
        ground.server.dir.join("ca.crt").display()
    );
    let mut all = args!["-m", "sh", "-c", script, PROGRAM, "apply", dir, "--dry-run"];
    all.extend(args!["--allow-unsigned", "--allow-kind", "ConfigMap", "-o", "json"]);
    let mut run = clean(Command::new("unshare"), &all);
    run.env("KUBERNETES_SERVICE_HOST", "127.0.0.1").env("KUBERNETES_SERVICE_PORT", ground.server.port.to_string());
    let run = checked(0, finish(&mut run));
    assert_eq!(user(&run), "admin");
    assert_eq!(
        run.document["applied"]["cluster"]["server"].as_str().unwrap().trim_end_matches('/'),
        ground.server.url()
    );
}

/// A proxy that makes tunnels, and counts them.
fn tunnels() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&count);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let count = Arc::clone(&shared);
            std::thread::spawn(move || tunnel(client, &count));
        }
    });
    (address, count)
}

fn tunnel(mut client: TcpStream, count: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
    }
    let host = first.strip_prefix("CONNECT ")?.split(' ').next()?;
    let server = TcpStream::connect(host).ok()?;
    count.fetch_add(1, Ordering::SeqCst);
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    let (mut up, mut down) = (server.try_clone().ok()?, server);
    std::thread::spawn(move || std::io::copy(&mut reader, &mut up));
    std::io::copy(&mut down, &mut client).ok().map(|_| ())
}

#[test]
fn the_cluster_is_reached_through_the_proxy_of_the_kubeconfig_or_the_environment() {
    let Some(ground) = Ground::new() else { return };
    let server = ground.server;
    let dir = ground.folder(&[ground.map("a", json!({ "key": "1" }))]);
    let (proxy, count) = tunnels();
    let used = |run: Applied| {
        assert_eq!(run.outcomes(), "a created");
        count.swap(0, Ordering::SeqCst) > 0
    };
    let plain = server.kubeconfig(Who::Admin, How::Token).display().to_string();
    let flag = ["--kubeconfig", plain.as_str()];
    // By the rules of Go's client, which `oc` uses: never for loopback addresses.
    assert!(!used(plan(0, &dir, &flag, &[("HTTPS_PROXY", &proxy), ("NO_PROXY", "127.0.0.1")])));
    let own = |proxy: &str| -> PathBuf {
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&plain).unwrap()).unwrap();
        config["clusters"][0]["cluster"]["proxy-url"] = json!(proxy);
        let path = ground.path().join(format!("proxied-{}", free_port()));
        std::fs::write(&path, config.to_string()).unwrap();
        path
    };
    let proxied = own(&proxy).display().to_string();
    assert!(used(plan(0, &dir, &["--kubeconfig", &proxied], &[("NO_PROXY", "*")])), "meant for this cluster");
    let dead = own(&format!("http://127.0.0.1:{}", free_port())).display().to_string();
    plan(50, &dir, &["--kubeconfig", &dead], &[]).says(&["proxy"]);
}
