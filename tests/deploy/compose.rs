//! The Compose file and what it mounts. No engine runs here: images and their own settings are not looked at.

use super::{API_PORT, METRICS_PORT, check_shutdown, check_variables, path, ships, strings, yaml};
use crate::support::nats_server;
use serde_json::{Value, json};
use std::process::Command;

fn compose() -> Value {
    yaml("deploy/compose/compose.yaml").remove(0)
}

fn env(service: &Value) -> Vec<(&str, &str)> {
    let env = service["environment"].as_object().unwrap();
    env.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect()
}

#[test]
fn its_services_fit_together() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    let mut named = Vec::new();
    for (name, service) in services {
        assert!(service["restart"].is_string(), "{name} would stay down");
        for other in service["depends_on"].as_array().into_iter().flatten() {
            assert!(services.contains_key(other.as_str().unwrap()), "{name} depends on {other}");
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name} is open to others: {port}");
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let volume = volume.as_str().unwrap();
            let (source, _) = volume.split_once(':').unwrap();
            match source.starts_with('.') {
                true => {
                    assert!(path("deploy/compose").join(source).exists(), "{name} mounts {source}");
                    assert!(volume.ends_with(":ro"), "{name} could write to {source}");
                }
                false => named.push(source),
            }
        }
    }
    let volumes: Vec<_> = compose["volumes"].as_object().unwrap().keys().map(String::as_str).collect();
    named.sort_unstable();
    let mut sorted = volumes.clone();
    sorted.sort_unstable();
    assert_eq!(named, sorted);

    let shipper = &services["log-shipper"];
    assert!(path("deploy/compose").join(shipper["build"].as_str().unwrap()).join("Dockerfile").exists());
    let grace = shipper["stop_grace_period"].as_str().unwrap().strip_suffix('s').unwrap();
    check_shutdown(&strings(&shipper["command"]), grace.parse().unwrap());
    check_variables("deploy/compose", env(shipper).into_iter().map(|(name, _)| name));
    let value = |name: &str| shipper["environment"][name].as_str().unwrap();
    assert!(strings(&shipper["volumes"])[0].ends_with(&format!(":{}", value("DATA_DIR"))));
    assert_eq!(value("NATS_URL"), "nats://nats:4222");
    assert!(value("API_ADDRESS").ends_with(&format!(":{API_PORT}")));
    assert_eq!(strings(&shipper["ports"]), [format!("127.0.0.1:{API_PORT}:{API_PORT}")]);
    // The stream that is made is the one that is read.
    assert_eq!(
        strings(&services["nats-box"]["entrypoint"]),
        ["nats", &format!("--server={}", value("NATS_URL"))]
    );
    let make = strings(&services["nats-box"]["command"]);
    assert_eq!(make[..2], ["stream", "add"]);
    assert!(make.contains(&value("JETSTREAM_STREAM")) && make.contains(&"--subjects=logs.>"));

    let prometheus = yaml("deploy/compose/prometheus.yaml").remove(0);
    let job = &prometheus["scrape_configs"][0];
    assert_eq!(job["static_configs"][0]["targets"], json!([format!("log-shipper:{METRICS_PORT}")]));
    assert_eq!(job["metrics_path"], json!("/metrics"));
    assert!(value("METRICS_ADDRESS").ends_with(&format!(":{METRICS_PORT}")));
    let rules = strings(&prometheus["rule_files"])[0];
    let mounts = strings(&services["prometheus"]["volumes"]);
    assert!(mounts.contains(&format!("../prometheus/alerts.yaml:{rules}:ro").as_str()));

    let provider = &yaml("deploy/compose/grafana/dashboards/dashboards.yaml")[0]["providers"][0];
    let directory = provider["options"]["path"].as_str().unwrap();
    let mounts = strings(&services["grafana"]["volumes"]);
    assert!(mounts.contains(&format!("../grafana:{directory}:ro").as_str()));
    for source in
        yaml("deploy/compose/grafana/datasources/datasources.yaml")[0]["datasources"].as_array().unwrap()
    {
        let host = source["url"].as_str().unwrap().strip_prefix("http://").unwrap();
        assert!(services.contains_key(host.split(':').next().unwrap()), "{host}");
    }
}

#[test]
fn the_nats_server_takes_its_arguments() {
    let directory = tempfile::tempdir().unwrap();
    let compose = compose();
    let args = strings(&compose["services"]["nats"]["command"]);
    assert!(args.contains(&"--jetstream"));
    // In the image /data is a volume.
    let args = args.iter().map(|arg| if *arg == "/data" { directory.path().to_str().unwrap() } else { arg });
    let config = directory.path().join("nats.conf");
    std::fs::write(&config, "server_name: \"nats\"\n").unwrap();
    let mut server = Command::new(nats_server::program());
    let output = server.args(args).arg("-t").arg("-c").arg(&config).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn its_command_ships_with_its_environment() {
    let compose = compose();
    let shipper = &compose["services"]["log-shipper"];
    ships(&strings(&shipper["command"]), env(shipper)).await;
}
