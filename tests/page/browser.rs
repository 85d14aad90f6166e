//! A real Chromium without a window, driven by its own chromedriver; both end with the test.

use fantoccini::error::CmdError;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use url::{ParseError, Url};

const START_WITHIN: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(20);

/// A page in a browser.
pub struct Browser {
    client: Client,
    driver: Child,
    /// The number of the processes' group: chromedriver's own.
    group: u32,
    _profile: TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub width: u32,
    pub height: u32,
    pub is_dark: bool,
}

/// A desktop by day.
pub const DESKTOP: Look = Look { width: 1280, height: 900, is_dark: false };

/// A phone by night.
pub const PHONE: Look = Look { width: 390, height: 844, is_dark: true };

impl Browser {
    /// Starts a browser that looks like this.
    pub async fn start(look: Look) -> Browser {
        let profile = tempfile::tempdir().expect("a temporary directory");
        let mut driver = Command::new(find("CHROMEDRIVER", &["chromedriver"], "chromium-driver"))
            .arg("--port=0")
            // A group of its own, to end Chromium with it: of a chromedriver that is killed, it does not notice.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver starts");
        let group = driver.id().expect("it runs");
        let mut lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
        let port = timeout(START_WITHIN, async {
            while let Some(line) = lines.next_line().await.expect("text") {
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    return port.trim_end_matches('.').to_owned();
                }
            }
            panic!("chromedriver has ended");
        });
        let port = port.await.expect("chromedriver takes too long");

        let chromium = find("CHROMIUM", &["chromium", "chromium-browser", "google-chrome"], "chromium");
        let profile_argument = format!("--user-data-dir={}", profile.path().display());
        let capabilities = json!({
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {
                "binary": chromium,
                "args": [
                    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                    "--disable-background-networking", "--disable-component-update", "--disable-sync",
                    "--disable-dev-shm-usage", "--hide-scrollbars", profile_argument,
                ],
            },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!("it is written as an object") };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let session = builder.capabilities(capabilities);
        let url = format!("http://127.0.0.1:{port}");
        let client = timeout(START_WITHIN, session.connect(&url)).await.expect("Chromium takes too long");
        let browser = Browser { client: client.expect("a session"), driver, group, _profile: profile };
        browser.look(look).await;
        browser
    }

    /// Sets the size of the window and the scheme of colours.
    pub async fn look(&self, Look { width, height, is_dark }: Look) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if is_dark { "dark" } else { "light" };
        let media = json!({"features": [
            {"name": "prefers-color-scheme", "value": scheme},
            // What scrolls smoothly is elsewhere by the time it is clicked on.
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]});
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    /// Goes to a page.
    pub async fn open(&self, url: &str) {
        timeout(LIMIT, self.client.goto(url))
            .await
            .expect("the page takes too long")
            .expect("the page opens");
    }

    /// What a script returns: `return document.title`.
    pub async fn run(&self, script: &str) -> Value {
        let answer =
            timeout(LIMIT, self.client.execute(script, Vec::new())).await.expect("the script takes too long");
        answer.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// What an expression is worth, as text; nothing if it is `null` or fails.
    pub async fn value(&self, expression: &str) -> String {
        let script = format!("try {{ return String(({expression}) ?? '') }} catch (error) {{ return '' }}");
        self.run(&script).await.as_str().expect("a String").to_owned()
    }

    /// The text of the first element that the selector finds, as it is seen.
    pub async fn text(&self, selector: &str) -> String {
        self.value(&format!("document.querySelector({}).innerText", json!(selector))).await
    }

    /// Waits until an expression is true.
    pub async fn wait_for(&self, expression: &str) {
        let found = timeout(LIMIT, async {
            while self.value(&format!("Boolean({expression})")).await != "true" {
                sleep(POLL_EVERY).await;
            }
        });
        if found.await.is_err() {
            panic!(
                "not true: {expression}\n{}\n{}",
                self.text("body").await,
                self.console().await.join("\n")
            );
        }
    }

    /// Waits until an element has these words in its text.
    pub async fn wait_for_text(&self, selector: &str, words: &str) {
        self.wait_for(&format!(
            "document.querySelector({}).innerText.includes({})",
            json!(selector),
            json!(words)
        ))
        .await;
    }

    /// Clicks on an element.
    pub async fn click(&self, selector: &str) {
        let element = self.client.find(fantoccini::Locator::Css(selector)).await;
        let element = element.unwrap_or_else(|error| panic!("{selector}: {error}"));
        element.click().await.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Presses keys while an element has the focus.
    pub async fn type_into(&self, selector: &str, keys: &str) {
        let element = self.client.find(fantoccini::Locator::Css(selector)).await;
        let element = element.unwrap_or_else(|error| panic!("{selector}: {error}"));
        element.clear().await.expect("a field to empty");
        element.send_keys(keys).await.expect("a field to type into");
    }

    /// Presses Enter where the focus is.
    pub async fn press_enter(&self) {
        let element = self.client.active_element().await.expect("the focus is somewhere");
        element.send_keys("\u{e007}").await.expect("a key to press");
    }

    /// What the page complained about since the last time: errors of scripts, what the policy of its content forbids,
    /// what could not be loaded.
    pub async fn console(&self) -> Vec<String> {
        let entries = self.issue(Raw { path: "se/log", body: json!({"type": "browser"}) }).await;
        let entries = entries.expect("a log").as_array().expect("a list").clone();
        entries.iter().map(|entry| format!("{} {}", entry["level"], entry["message"])).collect()
    }

    /// What is seen, as a PNG.
    pub async fn screenshot(&self) -> Vec<u8> {
        timeout(LIMIT, self.client.screenshot()).await.expect("it takes too long").expect("a picture")
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        let body = json!({"cmd": command, "params": parameters});
        self.issue(Raw { path: "goog/cdp/execute", body })
            .await
            .unwrap_or_else(|error| panic!("{command}: {error}"));
    }

    async fn issue(&self, command: Raw) -> Result<Value, CmdError> {
        timeout(LIMIT, self.client.issue_cmd(command)).await.expect("chromedriver takes too long")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Not waited for: it is gone before its directory is needed again.
        let _ =
            std::process::Command::new("kill").args(["-KILL", "--", &format!("-{}", self.group)]).status();
        let _ = self.driver.start_kill();
    }
}

/// A command of chromedriver's own.
#[derive(Debug)]
struct Raw {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Raw {
    fn endpoint(&self, base_url: &Url, session_id: Option<&str>) -> Result<Url, ParseError> {
        base_url.join(&format!("session/{}/{}", session_id.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

/// The program that the variable names, or the first of these on the PATH.
fn find(variable: &str, names: &[&str], package: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&directories).collect();
    let found = names.iter().flat_map(|name| directories.iter().map(move |directory| directory.join(name)));
    found.into_iter().find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "no {} on the PATH: install it (Debian: apt-get install {package}; `make browser` does), or set {variable}",
            names[0]
        )
    })
}
