//! The Kubernetes manifest. No cluster looks at it.

use super::{
    API_PORT, METRICS_PORT, bytes, check_shutdown, check_variables, dockerfile, ships, strings, yaml,
};
use serde_json::{Value, json};

fn of_kind(kind: &str) -> Value {
    let documents = yaml("deploy/kubernetes/log-shipper.yaml");
    let found: Vec<_> = documents.into_iter().filter(|document| document["kind"] == kind).collect();
    let [document] = &found[..] else { panic!("one {kind}") };
    document.clone()
}

fn container() -> Value {
    let containers = of_kind("StatefulSet")["spec"]["template"]["spec"]["containers"].clone();
    assert_eq!(containers.as_array().unwrap().len(), 1);
    containers[0].clone()
}

fn env(container: &Value) -> Vec<(&str, &str)> {
    let entries = container["env"].as_array().unwrap().iter();
    entries.map(|entry| (entry["name"].as_str().unwrap(), entry["value"].as_str().unwrap())).collect()
}

#[test]
fn its_parts_fit_together() {
    let set = of_kind("StatefulSet");
    let pod = &set["spec"]["template"];
    let container = container();
    let labels = &pod["metadata"]["labels"];
    let service = of_kind("Service");
    let policy = of_kind("NetworkPolicy");
    assert_eq!(&set["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&service["spec"]["selector"], labels);
    assert_eq!(&policy["spec"]["podSelector"]["matchLabels"], labels);
    assert_eq!(set["spec"]["serviceName"], service["metadata"]["name"]);

    let ports = json!([
        {"name": "api", "containerPort": API_PORT},
        {"name": "metrics", "containerPort": METRICS_PORT},
    ]);
    assert_eq!(container["ports"], ports);
    for (probe, path) in [("livenessProbe", "/live"), ("readinessProbe", "/ready")] {
        assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "api"}));
    }
    // Metrics only, for Prometheus only.
    assert_eq!(
        service["spec"]["ports"],
        json!([{"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics"}])
    );
    assert_eq!(service["metadata"]["annotations"]["prometheus.io/port"], json!(METRICS_PORT.to_string()));
    assert_eq!(service["metadata"]["annotations"]["prometheus.io/path"], json!("/metrics"));
    let [rule] = &policy["spec"]["ingress"].as_array().unwrap()[..] else { panic!("one rule") };
    assert_eq!(rule["ports"], json!([{"protocol": "TCP", "port": METRICS_PORT}]));

    let spec = &pod["spec"];
    check_shutdown(&strings(&container["args"]), spec["terminationGracePeriodSeconds"].as_u64().unwrap());
    for key in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert_eq!(spec["securityContext"][key], json!(dockerfile::user()), "{key}");
    }
    assert_eq!(spec["securityContext"]["runAsNonRoot"], json!(true));
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], json!(true));
    assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    let image = format!("log-shipper:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(container["image"], json!(image));
}

#[test]
fn its_variables_are_known_and_its_volume_is_large_enough() {
    let container = container();
    let env = env(&container);
    check_variables("deploy/kubernetes", env.iter().map(|(name, _)| *name));
    let value = |name: &str| env.iter().find(|(found, _)| *found == name).unwrap().1;
    assert_eq!(container["volumeMounts"][0]["mountPath"], json!(value("DATA_DIR")));
    let claim = &of_kind("StatefulSet")["spec"]["volumeClaimTemplates"][0];
    assert_eq!(claim["metadata"]["name"], container["volumeMounts"][0]["name"]);
    let storage = claim["spec"]["resources"]["requests"]["storage"].as_str().unwrap();
    assert!(bytes(storage) >= 2 * bytes(value("BUFFER_MAX_SIZE")));
    assert!(value("API_ADDRESS").ends_with(&format!(":{API_PORT}")));
    assert!(value("METRICS_ADDRESS").ends_with(&format!(":{METRICS_PORT}")));
    // What is secret comes from the secret.
    assert!(env.iter().all(|(name, _)| !name.contains("PASSWORD") && !name.contains("TOKEN")));
    assert_eq!(container["envFrom"], json!([{"secretRef": {"name": "log-shipper"}}]));
}

#[tokio::test]
async fn its_command_ships_with_its_environment() {
    let container = container();
    ships(&strings(&container["args"]), env(&container)).await;
}
