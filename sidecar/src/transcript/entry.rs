//! PURE: what a line of a session tells: tool calls and their results, as Claude Code and Codex
//! write them. Lines of any other shape count as growth alone.

use std::collections::HashMap;

use lubdub_shared::line::{Deed, Step};
use serde_json::Value;

/// Calls that wait for their result.
const OPEN_MAX: usize = 64;

/// Calls of one session that wait for their results.
#[derive(Debug, Default)]
pub(super) struct Entries {
    open: HashMap<String, Deed>,
}

impl Entries {
    /// Steps that a line completes: a call together with its result.
    pub(super) fn take(&mut self, line: &[u8]) -> Vec<Step> {
        let Ok(entry) = serde_json::from_slice::<Value>(line) else { return Vec::new() };
        // Codex: one item a line.
        let payload = &entry["payload"];
        if let Some(step) = self.item(payload) {
            return vec![step];
        }
        // Claude Code: blocks of a message.
        let blocks = entry["message"]["content"].as_array();
        blocks.into_iter().flatten().filter_map(|block| self.block(block)).collect()
    }

    fn item(&mut self, item: &Value) -> Option<Step> {
        let id = item["call_id"].as_str()?;
        match item["type"].as_str()? {
            "function_call" | "custom_tool_call" => {
                let said = if item["arguments"].is_null() { "input" } else { "arguments" };
                self.call(id, &item["name"], &item[said]);
                None
            }
            "function_call_output" | "custom_tool_call_output" => {
                self.result(id, &item["output"], false)
            }
            _ => None,
        }
    }

    fn block(&mut self, block: &Value) -> Option<Step> {
        match block["type"].as_str()? {
            "tool_use" => {
                self.call(block["id"].as_str()?, &block["name"], &block["input"]);
                None
            }
            "tool_result" => {
                let failed = block["is_error"] == true;
                self.result(block["tool_use_id"].as_str()?, &block["content"], failed)
            }
            _ => None,
        }
    }

    fn call(&mut self, id: &str, name: &Value, input: &Value) {
        if self.open.len() == OPEN_MAX {
            self.open.clear();
        }
        let action = format!("{} {input}", name.as_str().unwrap_or_default());
        let deed = Step::of(Some(&action), None, None).and_then(|step| step.action);
        self.open.extend(deed.map(|deed| (id.to_owned(), deed)));
    }

    fn result(&mut self, id: &str, content: &Value, failed: bool) -> Option<Step> {
        let action = self.open.remove(id)?;
        let content = content.to_string();
        let told = Some(content.as_str());
        let step = if failed { Step::of(None, None, told) } else { Step::of(None, told, None) };
        step.map(|step| Step { action: Some(action), ..step })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(lines: &[&str]) -> Vec<Step> {
        let mut entries = Entries::default();
        lines.iter().flat_map(|line| entries.take(line.as_bytes())).collect()
    }

    #[test]
    fn claude_code() {
        let call = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"x"},
            {"type":"tool_use","id":"t1","name":"Bash","input":{"command":"ls"}}]}}"#;
        let result = r#"{"type":"user","message":{"content":[
            {"type":"tool_result","tool_use_id":"t1","content":"a b"}]}}"#;
        let failed = r#"{"type":"user","message":{"content":[
            {"type":"tool_result","tool_use_id":"t1","content":"no","is_error":true}]}}"#;
        let [well] = steps(&[call, result]).try_into().expect("one step");
        assert_eq!(well.action.as_ref().map(|deed| deed.tool.as_str()), Some("Bash"));
        assert!(well.result.is_some() && well.error.is_none());
        let [badly] = steps(&[call, failed]).try_into().expect("one step");
        assert!(badly.result.is_none() && badly.error.is_some());
        assert_eq!(well.action, badly.action, "the same call");
        assert_eq!(steps(&[result]), [], "a result of nothing that was seen");
    }

    #[test]
    fn codex() {
        let call = r#"{"type":"response_item","payload":{"type":"function_call","name":"shell",
            "arguments":"{\"command\":[\"ls\"]}","call_id":"c1"}}"#;
        let output = r#"{"type":"response_item","payload":{"type":"function_call_output",
            "call_id":"c1","output":"{\"output\":\"a\"}"}}"#;
        let [step] = steps(&[call, output]).try_into().expect("one step");
        assert_eq!(step.action.map(|deed| deed.tool), Some("shell".to_owned()));
        assert!(step.result.is_some());
    }

    #[test]
    fn anything_else_is_no_step() {
        assert_eq!(steps(&["", "plain text", "{}", "[1]", "{\"message\":\"x\"}", "\u{0}"]), []);
    }
}
