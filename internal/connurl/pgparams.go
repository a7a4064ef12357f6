package connurl

import (
	"slices"
	"strings"
)

// The parameters of connection strings, by what becomes of them. PostgreSQL ends
// every connection that sends it one that it does not know, and lib/pq sends
// every parameter that it does not know itself.
var (
	// driver lists the parameters that lib/pq understands.
	driver = words(`application_name binary_parameters connect_timeout disable_prepared_binary_result
		fallback_application_name hostaddr load_balance_hosts max_protocol_version min_protocol_version
		options passfile service ssl_max_protocol_version ssl_min_protocol_version sslcert sslinline sslkey
		sslmode sslnegotiation sslrootcert sslsni target_session_attrs`)

	// unused lists the parameters of libpq, SQLAlchemy, Prisma, asyncpg, psycopg, JDBC, pgx,
	// Django and of hosts that have no use here. Mails are sent without them
	// as well.
	unused = words(`async_fallback autosave binarytransfer channel_binding command_timeout conn_health_checks
		conn_max_age connection_limit default_query_exec_mode description_cache_capacity direct_tls
		executemany_batch_page_size executemany_mode gssdelegation gssencmode gsslib keepalives keepalives_count
		keepalives_idle keepalives_interval krbsrvname logintimeout max_cacheable_statement_size
		max_cached_statement_lifetime max_overflow pgbouncer pool pool_max_conn_idle_time
		pool_max_conn_lifetime pool_max_conn_lifetime_jitter pool_health_check_period pool_max_conns
		pool_min_conns pool_min_idle_conns pool_mode pool_pre_ping pool_recycle pool_size pool_timeout
		prepare_threshold prepared_statement_cache_queries prepared_statement_cache_size
		prepared_statements preparethreshold reaping_frequency require_auth requirepeer rewritebatchedinserts
		servicefile single_use_connections socket_timeout sockettimeout sslaccept sslcertmode
		sslcompression sslcrl sslcrldir sslkeylogfile statement_cache_capacity statement_cache_mode
		statement_cache_size supa tcpkeepalive timeout use_native_hstore uselibpqcompat workaround`)

	// settings lists the parameters that PostgreSQL takes at the start of a session;
	// families lists prefixes of further ones.
	settings = words(`allow_in_place_tablespaces allow_system_table_mods array_nulls backend_flush_after
		backslash_quote backtrace_functions bytea_output check_function_bodies client_connection_check_interval
		client_min_messages commit_delay commit_siblings compute_query_id constraint_exclusion createrole_self_grant
		cursor_tuple_fraction deadlock_timeout dynamic_library_path effective_cache_size
		effective_io_concurrency escape_string_warning event_triggers exit_on_error extension_control_path
		extension_destdir extra_float_digits file_copy_method force_parallel_mode from_collapse_limit
		gin_fuzzy_search_limit gin_pending_list_limit hash_mem_multiplier icu_validation_level
		idle_in_transaction_session_timeout idle_session_timeout ignore_checksum_failure ignore_system_indexes
		intervalstyle io_combine_limit join_collapse_limit lo_compat_privileges local_preload_libraries lock_timeout
		logical_decoding_work_mem maintenance_io_concurrency maintenance_work_mem max_parallel_maintenance_workers
		max_parallel_workers max_parallel_workers_per_gather max_stack_depth min_parallel_index_scan_size
		min_parallel_table_scan_size password_encryption plan_cache_mode post_auth_delay quote_all_identifiers
		random_page_cost recursive_worktable_factor restrict_nonsystem_relation_kind role row_security
		scram_iterations search_path send_abort_for_crash send_abort_for_kill seq_page_cost session_preload_libraries
		session_replication_role standard_conforming_strings statement_timeout stats_fetch_consistency
		synchronize_seqscans synchronous_commit temp_buffers temp_file_limit temp_tablespaces timezone
		timezone_abbreviations transaction_deferrable transaction_isolation transaction_read_only
		transaction_timeout transform_null_equals update_process_title work_mem zero_damaged_pages`)
	families = words(`cpu_ debug_ default_ enable_ geqo jit lc_ log_ parallel_ tcp_ track_ trace_ vacuum_ wal_ xml`)
)

func words(text string) []string { return strings.Fields(text) }

// unsafe are parameters that the connection would lack, each with the remedy.
var unsafe = map[string]string{
	"replication":      "leave it out: it is for copies of the server",
	"sslpassword":      "name a key in sslkey that has no passphrase",
	"scram_client_key": "write the password",
	"scram_server_key": "write the password",
}

// take puts one parameter to where it belongs. name is in lower case.
func (p *Postgres) take(name, value string) error {
	switch name {
	case "ssl", "sslmode", "requiressl":
		p.takeSSL(name, value)
	case "schema", "currentschema": // Prisma and JDBC
		if value != "public" {
			p.Params["search_path"] = value
		}
	case "applicationname":
		p.Params["application_name"] = value
	case "tz":
		p.Params["timezone"] = value
	case "client_encoding", "encoding", "charset", "datestyle", "datetype":
		p.takeFixed(name, value)
	case "gssencmode":
		if value == "require" {
			return &Fault{`its parameter "gssencmode" asks for Kerberos, which is not supported`, "leave it out, and write sslmode=verify-full"}
		}
	case "channel_binding":
		p.noteBinding(value)
	default:
		return p.takeOther(name, value)
	}
	return nil
}

func (p *Postgres) takeOther(name, value string) error {
	remedy, isUnsafe := unsafe[name]
	inFamily := func(family string) bool { return strings.HasPrefix(name, family) }
	switch {
	case isUnsafe || strings.HasPrefix(name, "oauth_"):
		if remedy == "" {
			remedy = "log in with a password"
		}
		return &Fault{"its parameter " + quoteName(name) + " is not supported", remedy}
	case slices.Contains(unused, name):
		p.note("the parameter " + quoteName(name) + " is not used")
	case slices.Contains(driver, name), slices.Contains(settings, name), strings.Contains(name, "."), slices.ContainsFunc(families, inFamily):
		p.Params[name] = value
	default:
		return &Fault{"its parameter " + quoteName(name) + " is not known to PostgreSQL, which would refuse the connection",
			"leave it out; settings of the server may also be written as options=-c%20name%3Dvalue"}
	}
	return nil
}

func (p *Postgres) note(text string) { p.Notes = append(p.Notes, text) }

// takeSSL translates the words of other drivers into an sslmode.
func (p *Postgres) takeSSL(name, value string) {
	mode := strings.ToLower(value)
	switch {
	case mode == "no-verify": // node-postgres
		mode = "require"
	case name == "sslmode":
	case mode == "true" || mode == "1" || mode == "on":
		mode = "require"
	case mode == "false" || mode == "0" || mode == "off":
		mode = "disable"
		if name == "requiressl" {
			mode = "prefer"
		}
	}
	if name == "sslmode" || p.Params["sslmode"] == "" {
		p.Params["sslmode"] = mode
	}
}

// takeFixed checks settings that lib/pq has only one value for.
func (p *Postgres) takeFixed(name, value string) {
	plain := strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(value))
	if !slices.Contains([]string{"utf8", "unicode", "iso,mdy"}, plain) {
		p.note("the parameter " + quoteName(name) + " is not used: texts are always in UTF-8, dates in ISO form")
	}
}

// noteBinding tells what is lost without channel binding, which lib/pq lacks.
func (p *Postgres) noteBinding(value string) {
	if value != "require" {
		return // there is none, which is all right
	}
	p.note(`the parameter "channel_binding" is not supported and not used; sslmode=verify-full is as safe against a false server`)
}
