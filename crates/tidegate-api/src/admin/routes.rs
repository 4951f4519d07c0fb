//! The table of everything under `/admin/v1`. The router, the OpenAPI document and the tests go over its rows; a new
//! endpoint is one row here.

use std::pin::Pin;

use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use tidegate_gateway::GatewayError;
use tidegate_gateway::plan::Explanation;
use tidegate_policy::Area;

use super::context::{Context, Reply};
use super::limits_usage::LimitsUsageView;
use super::requests::{
    CreateCredential, CreateKey, CreateOrganization, CreateTeam, RotateCredential, RotateKey, SetLimits,
    UpdateKey, UpdateOrganization, UpdateTeam,
};
use super::views::{
    AuditLineView, CredentialView, KeyView, KeyWithSecret, List, OrganizationView, SubjectView, TeamView,
    VerificationView,
};
use super::{
    audit, calls, credentials, experiments, explain, keys, limits, limits_usage, organizations, targets,
    teams, usage,
};
use crate::request_to_explain::RequestToExplain;

/// One endpoint of the administration.
pub struct AdminRoute {
    /// Its method.
    pub method: Method,
    /// Its path, with parameters in braces.
    pub path: &'static str,
    /// Its name for generated clients.
    pub name: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// The part of the administration that it belongs to: who may use it follows from there.
    pub area: Area,
    /// Whether it changes something.
    pub writes: bool,
    /// What may stand behind the `?`, with what it means.
    pub query: &'static [(&'static str, &'static str)],
    /// The schema of what it takes.
    pub request: Option<MakeSchema>,
    /// The status of success.
    pub status: u16,
    /// The schema of what it answers; none, where it answers nothing.
    pub response: Option<MakeSchema>,
    pub(crate) handler: fn(Context) -> Handling,
}

/// Makes a schema.
pub type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

/// A handler at work.
pub(crate) type Handling = Pin<Box<dyn Future<Output = Result<Reply, GatewayError>> + Send>>;

impl std::fmt::Debug for AdminRoute {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.method, self.path)
    }
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const AFTER: (&str, &str) = ("after", "The `next` of the page before");
const LIMIT: (&str, &str) = ("limit", "Items on a page, 50 when left out, 1000 at most");
const ORGANIZATION: (&str, &str) = ("organization_id", "Only those of this organization");
const SINCE: (&str, &str) = ("since", "From this moment on: 2026-01-31T12:00:00Z");
const UNTIL: (&str, &str) = ("until", "Before this moment");

/// What most rows have in common.
const fn row(
    method: Method,
    path: &'static str,
    name: &'static str,
    summary: &'static str,
    area: Area,
    handler: fn(Context) -> Handling,
) -> AdminRoute {
    let writes = !matches!(method, Method::GET);
    AdminRoute {
        method,
        path,
        name,
        summary,
        area,
        writes,
        query: &[],
        request: None,
        status: 200,
        response: None,
        handler,
    }
}

impl AdminRoute {
    /// It changes nothing although it takes a body.
    const fn reads(mut self) -> Self {
        self.writes = false;
        self
    }

    const fn query(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }

    const fn takes(mut self, request: MakeSchema) -> Self {
        self.request = Some(request);
        self
    }

    const fn answers(mut self, status: u16, response: Option<MakeSchema>) -> Self {
        self.status = status;
        self.response = response;
        self
    }
}

/// Makes the table; each handler is named once.
macro_rules! table {
    ($($method:ident $path:literal $name:literal $summary:literal $area:ident $handler:path $(, $more:ident($($argument:expr),*))*;)+) => {
        /// All of them.
        pub static ADMIN_ROUTES: &[AdminRoute] = &[
            $(row(Method::$method, $path, $name, $summary, Area::$area, |context| Box::pin($handler(context)))
                $(.$more($($argument),*))*,)+
        ];
    };
}

table! {
    GET "/admin/v1/organizations" "list_organizations" "Lists organizations" Teams organizations::list,
        query(&[AFTER, LIMIT]), answers(200, Some(of::<List<OrganizationView>>));
    POST "/admin/v1/organizations" "create_organization" "Makes an organization" Teams organizations::create,
        takes(of::<CreateOrganization>), answers(201, Some(of::<OrganizationView>));
    GET "/admin/v1/organizations/{id}" "get_organization" "Shows an organization" Teams organizations::get,
        answers(200, Some(of::<OrganizationView>));
    PATCH "/admin/v1/organizations/{id}" "update_organization" "Changes an organization" Teams organizations::update,
        takes(of::<UpdateOrganization>), answers(200, Some(of::<OrganizationView>));

    GET "/admin/v1/organizations/{id}/limits" "get_organization_limits_usage"
        "Shows how far the limits of an organization are used" Teams limits_usage::of_organization,
        answers(200, Some(of::<LimitsUsageView>));

    GET "/admin/v1/teams" "list_teams" "Lists teams" Teams teams::list,
        query(&[ORGANIZATION, AFTER, LIMIT]), answers(200, Some(of::<List<TeamView>>));
    POST "/admin/v1/teams" "create_team" "Makes a team" Teams teams::create,
        takes(of::<CreateTeam>), answers(201, Some(of::<TeamView>));
    GET "/admin/v1/teams/{id}" "get_team" "Shows a team" Teams teams::get,
        answers(200, Some(of::<TeamView>));
    PATCH "/admin/v1/teams/{id}" "update_team" "Changes a team" Teams teams::update,
        takes(of::<UpdateTeam>), answers(200, Some(of::<TeamView>));

    GET "/admin/v1/teams/{id}/limits" "get_team_limits_usage" "Shows how far the limits of a team are used" Teams
        limits_usage::of_team,
        answers(200, Some(of::<LimitsUsageView>));

    GET "/admin/v1/keys" "list_keys" "Lists keys, the newest first" Keys keys::list,
        query(&[
            ORGANIZATION,
            ("team_id", "Only those of this team"),
            ("role", "none: callers' keys; any: administrators' keys; or one role"),
            ("disabled", "true or false"),
            ("name", "Only those with this in their name"),
            AFTER,
            LIMIT
        ]),
        answers(200, Some(of::<List<KeyView>>));
    POST "/admin/v1/keys" "create_key" "Makes a key and shows its secret, this once" Keys keys::create,
        takes(of::<CreateKey>), answers(201, Some(of::<KeyWithSecret>));
    GET "/admin/v1/keys/{id}" "get_key" "Shows a key" Keys keys::get,
        answers(200, Some(of::<KeyView>));
    PATCH "/admin/v1/keys/{id}" "update_key" "Changes a key" Keys keys::update,
        takes(of::<UpdateKey>), answers(200, Some(of::<KeyView>));
    POST "/admin/v1/keys/{id}/rotate" "rotate_key" "Gives a key a new secret and shows it, this once" Keys keys::rotate,
        takes(of::<RotateKey>), answers(200, Some(of::<KeyWithSecret>));
    POST "/admin/v1/keys/{id}/disable" "disable_key" "Refuses a key from now on" Keys keys::disable,
        answers(200, Some(of::<KeyView>));
    POST "/admin/v1/keys/{id}/enable" "enable_key" "Takes a disabled key again" Keys keys::enable,
        answers(200, Some(of::<KeyView>));

    GET "/admin/v1/keys/{id}/limits" "get_key_limits_usage" "Shows how far the limits of a key are used" Keys
        limits_usage::of_key,
        answers(200, Some(of::<LimitsUsageView>));

    GET "/admin/v1/end-users" "list_end_user_limits" "Lists end users that have limits of their own" Teams
        limits::list_end_users,
        query(&[ORGANIZATION, AFTER, LIMIT]), answers(200, Some(of::<List<SubjectView>>));
    GET "/admin/v1/end-users/{organization_id}/{name}" "get_end_user_limits" "Shows the limits of an end user" Teams
        limits::get,
        answers(200, Some(of::<SubjectView>));
    PUT "/admin/v1/end-users/{organization_id}/{name}" "set_end_user_limits" "Sets the limits of an end user" Teams
        limits::set,
        takes(of::<SetLimits>), answers(200, Some(of::<SubjectView>));
    DELETE "/admin/v1/end-users/{organization_id}/{name}" "remove_end_user_limits"
        "Removes the limits of an end user" Teams limits::remove,
        answers(204, None);
    GET "/admin/v1/end-users/{organization_id}/{name}/limits" "get_end_user_limits_usage"
        "Shows how far the limits of an end user are used, its own or those for each" Teams limits_usage::of_end_user,
        answers(200, Some(of::<LimitsUsageView>));
    GET "/admin/v1/tags" "list_tag_limits" "Lists tags that have limits" Teams limits::list_tags,
        query(&[("name", "Only tags of this name"), AFTER, LIMIT]), answers(200, Some(of::<List<SubjectView>>));
    GET "/admin/v1/tags/{name}/{value}" "get_tag_limits" "Shows the limits of a tag" Teams limits::get,
        answers(200, Some(of::<SubjectView>));
    PUT "/admin/v1/tags/{name}/{value}" "set_tag_limits" "Sets the limits of a tag" Teams limits::set,
        takes(of::<SetLimits>), answers(200, Some(of::<SubjectView>));
    DELETE "/admin/v1/tags/{name}/{value}" "remove_tag_limits" "Removes the limits of a tag" Teams limits::remove,
        answers(204, None);
    GET "/admin/v1/tags/{name}/{value}/limits" "get_tag_limits_usage" "Shows how far the limits of a tag are used"
        Teams limits_usage::of_tag,
        answers(200, Some(of::<LimitsUsageView>));

    GET "/admin/v1/usage" "report_usage" "Sums up calls, tokens and cost" Usage usage::report,
        query(&usage::QUERY), answers(200, Some(of::<usage::UsageReport>));
    GET "/admin/v1/calls" "list_calls" "Lists calls, the newest first" Usage calls::list,
        query(&[
            ("team_id", "Only those of this team"),
            ("key_id", "Only those of this key"),
            SINCE,
            UNTIL,
            AFTER,
            LIMIT
        ]),
        answers(200, Some(of::<List<calls::CallView>>));
    GET "/admin/v1/calls/{id}" "get_call" "Shows a call, by the x-request-id that its caller got" Usage calls::get,
        answers(200, Some(of::<calls::CallView>));

    GET "/admin/v1/targets" "list_targets" "Shows how every target is doing" Routing targets::list,
        answers(200, Some(of::<targets::TargetList>));

    POST "/admin/v1/explain" "explain_request" "Tells who would be asked for a request, and why not the others" Routing
        explain::explain_request,
        reads(), takes(of::<RequestToExplain>), answers(200, Some(of::<Explanation>));

    GET "/admin/v1/experiments" "list_experiments" "Lists experiments and what they show" Experiments experiments::list,
        answers(200, Some(of::<experiments::ExperimentsView>));
    GET "/admin/v1/experiments/{name}" "get_experiment" "Shows an experiment" Experiments experiments::get,
        answers(200, Some(of::<experiments::ExperimentView>));
    POST "/admin/v1/experiments/{name}/stop" "stop_experiment" "Takes all calls out of a test or a canary" Experiments
        experiments::stop,
        answers(200, Some(of::<experiments::ExperimentView>));
    POST "/admin/v1/experiments/{name}/resume" "resume_experiment" "Lets a test or a canary go on, from its beginning"
        Experiments experiments::resume,
        answers(200, Some(of::<experiments::ExperimentView>));
    POST "/admin/v1/experiments/{name}/promote" "promote_arm" "Gives all calls to the candidate" Experiments
        experiments::promote,
        takes(of::<experiments::PromoteArm>), answers(200, Some(of::<experiments::ExperimentView>));

    GET "/admin/v1/audit" "list_audit" "Lists the audit log, the newest lines first" Audit audit::list,
        query(&[
            ("actor", "Only what this key's id, `cli:<user>` or `system` did"),
            ("action", "Only this action: `key.create`"),
            ("object", "Only what was done to this: `key:key_…`"),
            SINCE,
            UNTIL,
            AFTER,
            LIMIT
        ]),
        answers(200, Some(of::<List<AuditLineView>>));
    GET "/admin/v1/audit/verify" "verify_audit" "Goes through the whole audit log and says what is wrong with it" Audit
        audit::verify,
        answers(200, Some(of::<VerificationView>));

    GET "/admin/v1/credentials" "list_credentials" "Lists the providers' credentials, without their secrets" Credentials
        credentials::list,
        answers(200, Some(of::<List<CredentialView>>));
    POST "/admin/v1/credentials" "create_credential" "Keeps a provider's credential, encrypted" Credentials
        credentials::create,
        takes(of::<CreateCredential>), answers(201, Some(of::<CredentialView>));
    POST "/admin/v1/credentials/{id}/rotate" "rotate_credential" "Replaces the secret of a provider's credential"
        Credentials credentials::rotate,
        takes(of::<RotateCredential>), answers(200, Some(of::<CredentialView>));
    DELETE "/admin/v1/credentials/{id}" "remove_credential" "Removes a provider's credential" Credentials
        credentials::remove,
        answers(204, None);
}
