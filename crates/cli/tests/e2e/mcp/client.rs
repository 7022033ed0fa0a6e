//! A client of the official SDK, outside, whose transport is `sessile mcp` inside.

use rmcp::model::{CallToolRequestParams, CallToolResult, Tool};
use rmcp::service::{RoleClient, RunningService};
use rmcp::{ServiceError, ServiceExt as _};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::runtime::{Builder, Runtime};

use crate::support::World;

/// Somebody who calls tools.
pub struct Client {
    runtime: Runtime,
    service: RunningService<RoleClient, ()>,
    _command: Child,
}

impl Client {
    /// Connects to a server of a session.
    pub fn open(world: &World, session: &str, server: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut command = Command::from(world.command(&["exec", session, "--", "sessile", "mcp", server]));
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).kill_on_drop(true);
        let (command, service) = runtime.block_on(async {
            let mut command = command.spawn().unwrap();
            let streams = (command.stdout.take().unwrap(), command.stdin.take().unwrap());
            (command, ().serve(streams).await.unwrap())
        });
        Self { runtime, service, _command: command }
    }

    pub fn tools(&self) -> Vec<Tool> {
        self.try_tools().unwrap()
    }

    pub fn try_tools(&self) -> Result<Vec<Tool>, ServiceError> {
        self.runtime.block_on(self.service.list_all_tools())
    }

    pub fn try_call(&self, tool: &str, arguments: Value) -> Result<CallToolResult, ServiceError> {
        let mut call = CallToolRequestParams::new(tool.to_owned());
        call.arguments = arguments.as_object().cloned();
        self.runtime.block_on(self.service.call_tool(call))
    }

    /// What a call came to: whether it failed, and its texts.
    pub fn call(&self, tool: &str, arguments: Value) -> (bool, String) {
        let result = self.try_call(tool, arguments).unwrap();
        let texts = result.content.iter().filter_map(|block| Some(block.as_text()?.text.clone()));
        (result.is_error == Some(true), texts.collect::<Vec<_>>().join("\n"))
    }

    pub fn resources(&self) -> Result<(), ServiceError> {
        self.runtime.block_on(self.service.list_all_resources()).map(drop)
    }
}
