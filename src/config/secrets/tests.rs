use super::*;

fn ask(backend: &str, keys: &[&str], env: &Env) -> Vec<Result<String, String>> {
    let table: Table = backend.parse().unwrap();
    let name = |key: &&str| SecretName { backend: "b".to_owned(), key: (*key).to_owned() };
    let (secrets, problems) = Secrets::load(&table, keys.iter().map(name).collect(), env);
    assert!(problems.is_empty(), "{problems:?}");
    keys.iter().map(|key| secrets.get(&name(key), env)).collect()
}

#[track_caller]
fn fails(backend: &str, key: &str, words: &str) {
    let error = ask(backend, &[key], &Env::default()).remove(0).unwrap_err();
    assert!(error.contains(words), "{error}\nshould contain\n{words}");
    assert!(!error.contains("s3cr3t"), "{error}");
}

#[test]
fn names_are_found_where_they_stand() {
    let mut names = BTreeSet::new();
    let text = "a = 'SECRET[b.k]'\nc = ['x SECRET[b.k-2] SECRET[d.e/f.g] SECRET[x] SECRET[.y] SECRET[']";
    collect(&Value::Table(text.parse().unwrap()), &mut names);
    let names: Vec<_> = names.iter().map(|name| format!("{}.{}", name.backend, name.key)).collect();
    assert_eq!(names, ["b.k", "b.k-2", "d.e/f.g"]);
}

#[test]
fn a_file_has_an_object_of_strings() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secrets.json");
    let backend = format!("b = {{type = 'file', path = '{}'}}", path.display());
    fails(&backend, "k", "SECRET[b.k]: cannot read ");
    std::fs::write(&path, r#"{"k": "s3cr3t $x SECRET[b.n]", "n": 1, "e": ""}"#).unwrap();
    assert_eq!(ask(&backend, &["k"], &Env::default()), [Ok("s3cr3t $x SECRET[b.n]".to_owned())]);
    fails(&backend, "n", "is not a string");
    fails(&backend, "other", "it has no such key");
    fails(&backend, "e", "it is empty");
    std::fs::write(&path, "{\"k\": \"s3cr3t\"").unwrap();
    fails(&backend, "k", "line 1: expected a JSON object of strings");
}

#[test]
fn a_directory_has_a_file_for_each() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("k"), " s3cr3t \n").unwrap();
    let backend = format!("b = {{type = 'directory', path = '{}'}}", dir.path().display());
    assert_eq!(ask(&backend, &["k"], &Env::default()), [Ok(" s3cr3t \n".to_owned())]);
    let trimmed = backend.replace('}', ", remove_trailing_whitespace = true}");
    assert_eq!(ask(&trimmed, &["k"], &Env::default()), [Ok(" s3cr3t".to_owned())]);
    fails(&backend, "none", "cannot read ");
    fails(&backend, "../k", "no name of a file");
}

fn script(text: &str) -> String {
    format!("b = {{type = 'exec', command = ['sh', '-c', '''{text}'''], timeout = 1}}")
}

#[test]
fn a_command_is_asked_once_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let (log, answer) = (dir.path().join("log"), dir.path().join("answer"));
    std::fs::write(
        &answer,
        r#"{"k": {"value": "s3cr3t", "error": null}, "l": {"value": null, "error": "gone"}}"#,
    )
    .unwrap();
    let backend = script(&format!("cat >> {}; cat {}", log.display(), answer.display()));
    let backend = backend.replace("timeout = 1", "timeout = 60");
    let answers = ask(&backend, &["k", "l", "m"], &Env::default());
    assert_eq!(answers[0], Ok("s3cr3t".to_owned()));
    assert_eq!(answers[1], Err("SECRET[b.l]: `sh` says: gone".to_owned()));
    assert_eq!(answers[2], Err("SECRET[b.m]: it has no such key".to_owned()));
    let asked: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!(asked, serde_json::json!({"version": "1.0", "secrets": ["k", "l", "m"]}));
}

#[test]
fn a_command_that_fails_says_so_and_one_that_hangs_is_stopped() {
    let patient = |text: &str| script(text).replace("timeout = 1", "timeout = 60");
    fails(&patient("echo s3cr3t; exit 3"), "k", "`sh` failed (exit status: 3)");
    fails(&patient("echo s3cr3t"), "k", "did not answer as expected (line 1");
    fails(&script("exec sleep 600"), "k", "took longer than 1 s");
    fails("b = {type = 'exec', command = ['/nowhere/x']}", "k", "cannot run `/nowhere/x`");
}

#[test]
fn without_the_environment_nothing_is_run_and_nothing_is_read() {
    let env = Env::default().with_placeholder("there");
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let backend = script(&format!("touch {}", trace.display()));
    assert_eq!(ask(&backend, &["k"], &env), [Ok("there".to_owned())]);
    assert!(!trace.exists());
}

#[test]
fn says_what_is_wrong_with_a_backend() {
    for (backend, words) in [
        ("b = 1", "secret.b: expected a table"),
        ("b = {}", "secret.b.type: missing"),
        (
            "b = {type = 'aws_secrets_manager'}",
            "secret.b.type: the backend `aws_secrets_manager` is not supported here; use `exec`",
        ),
        ("b = {type = 'fil'}", "did you mean `file`?"),
        ("b = {type = 'file'}", "secret.b: missing field `path`"),
        ("b = {type = 'exec', command = []}", "secret.b.command: empty"),
        (
            "b = {type = 'exec', command = ['x'], protocol = {version = 'v2'}}",
            "secret.b.protocol.version: unknown variant `v2`",
        ),
        (
            "b = {type = 'directory', path = 'x', pth = 1}",
            "secret.b.pth: unknown field `pth`; did you mean `path`?",
        ),
    ] {
        let (_, problems) = Secrets::load(&backend.parse().unwrap(), BTreeSet::new(), &Env::default());
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(text.contains(words), "{text}\nshould contain\n{words}");
    }
    let name = SecretName { backend: "vaul".to_owned(), key: "k".to_owned() };
    let table: Table = "vault = {type = 'file', path = 'x'}".parse().unwrap();
    let (secrets, _) = Secrets::load(&table, BTreeSet::new(), &Env::default());
    assert_eq!(
        secrets.get(&name, &Env::default()).unwrap_err(),
        "SECRET[vaul.k]: there is no [secret.vaul]; did you mean `vault`?"
    );
}
