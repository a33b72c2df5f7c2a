//! Which cluster, and how it is reached: kubeconfig files, the configuration of a pod, proxies.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::Options;
use crate::error::{Code, Error, Result};

/// Where a pod finds the token of its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The configuration, and the context it is from.
pub(super) async fn load(options: &Options) -> Result<(Config, Option<String>)> {
    let named = options.kubeconfig.is_some();
    let mut merged: Option<Kubeconfig> = None;
    for path in paths(options) {
        // As kubectl: a file of KUBECONFIG, or the default one, may be missing; a named one may not.
        if !named && !path.exists() {
            continue;
        }
        let one = Kubeconfig::read_from(&path).map_err(|e| unusable(&e).fact(format!("in `{}`", path.display())))?;
        merged = Some(match merged {
            None => one,
            Some(before) => before.merge(one).map_err(|e| unusable(&e))?,
        });
    }
    let Some(found) = merged.filter(|found| named || !found.contexts.is_empty() || !found.clusters.is_empty()) else {
        return in_cluster(options).map(|config| (config, None));
    };
    let context = options.context.clone().or_else(|| found.current_context.clone()).filter(|name| !name.is_empty());
    let names: Vec<String> = found.contexts.iter().map(|context| context.name.clone()).collect();
    let Some(context) = context else {
        return Err(Error::new(Code::Usage, "the kubeconfig has no current context").hint(choose(&names)));
    };
    if !names.contains(&context) {
        return Err(Error::new(Code::Usage, format!("the kubeconfig has no context `{context}`")).hint(choose(&names)));
    }
    let own = found.contexts.iter().find(|one| one.name == context).and_then(|one| one.context.as_ref());
    let cluster = own.map(|own| own.cluster.clone()).unwrap_or_default();
    let own_proxy = found.clusters.iter().find(|one| one.name == cluster).and_then(|one| one.cluster.as_ref());
    let own_proxy = own_proxy.and_then(|one| one.proxy_url.clone()).filter(|proxy| !proxy.is_empty());
    let wanted = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(found, &wanted).await;
    let mut config = config.map_err(|e| unusable(&e).fact(format!("in the context `{context}`")))?;
    if config.root_cert.as_ref().is_some_and(Vec::is_empty) {
        let text = "the kubeconfig cannot be used: its certificate authority holds no certificate";
        return Err(Error::new(Code::Usage, text).fact(format!("in the context `{context}`")));
    }
    match own_proxy {
        // A proxy of the kubeconfig is meant for this cluster, whatever NO_PROXY says.
        Some(proxy) => config.proxy_url = Some(proxy.parse().map_err(|_| no_proxy())?),
        None => config.proxy_url = from_environment(&config, options)?,
    }
    Ok((config, Some(context)))
}

/// The files that are merged.
fn paths(options: &Options) -> Vec<PathBuf> {
    if let Some(path) = &options.kubeconfig {
        return vec![path.clone()];
    }
    let listed: Vec<PathBuf> = (options.environment)("KUBECONFIG")
        .map(|value| {
            let parts = value.as_bytes().split(|b| *b == b':').filter(|part| !part.is_empty());
            parts.map(|part| PathBuf::from(OsStr::from_bytes(part))).collect()
        })
        .unwrap_or_default();
    if !listed.is_empty() {
        return listed;
    }
    (options.environment)("HOME").map(|home| Path::new(&home).join(".kube/config")).into_iter().collect()
}

fn in_cluster(options: &Options) -> Result<Config> {
    let nowhere = || {
        Error::new(Code::Auth, "no cluster is known: no kubeconfig was found")
            .hint("oc login https://API-SERVER:6443, or name a file with --kubeconfig")
    };
    if options.context.is_some() || !Path::new(SERVICE_ACCOUNT).exists() {
        return Err(nowhere());
    }
    let mut config = Config::incluster().map_err(|e| nowhere().fact(format!("as a pod: {e}")))?;
    config.proxy_url = from_environment(&config, options)?;
    Ok(config)
}

/// The proxy of the environment, by the rules of Go's client, so that it is the one that `oc` uses.
fn from_environment(config: &Config, options: &Options) -> Result<Option<http::Uri>> {
    let proxy = crate::registry::proxy_for(&config.cluster_url.to_string(), &options.environment)?;
    proxy.map(|proxy| proxy.parse().map_err(|_| no_proxy())).transpose()
}

fn no_proxy() -> Error {
    // It may contain a password: it is not quoted.
    Error::new(Code::Usage, "the proxy of the cluster cannot be used").fact("expected http://HOST:PORT")
}

fn choose(names: &[String]) -> String {
    match names {
        [] => "oc login https://API-SERVER:6443 writes one".to_owned(),
        names => {
            format!("choose one with --context: {}", names.iter().take(20).cloned().collect::<Vec<_>>().join(", "))
        }
    }
}

fn unusable(err: &KubeconfigError) -> Error {
    let why = match err {
        KubeconfigError::ReadConfig(io, _) => super::words::of(io),
        other => super::words::of(other),
    };
    Error::new(Code::Usage, format!("the kubeconfig cannot be used: {why}"))
}
