# What ships: the addon (build/Release/cfc.node) and the static program
# (build/Release/cfc-native). A new .cc is named here and in
# native/CMakeLists.txt; scripts/check-sources.mjs compares the two.
{
  'variables': {
    'core_sources': [
      'native/core/agent.cc',
      'native/core/agent_forward.cc',
      'native/core/agent_dead.cc',
      'native/core/agent_limits.cc',
      'native/core/agent_receive.cc',
      'native/core/agent_send.cc',
      'native/core/dead_letters.cc',
      'native/core/directory.cc',
      'native/core/fabric_files.cc',
      'native/core/fabric_peers.cc',
      'native/core/group.cc',
      'native/core/guard.cc',
      'native/core/lease.cc',
      'native/core/lifecycle.cc',
      'native/core/line_ring.cc',
      'native/core/mail.cc',
      'native/core/metrics.cc',
      'native/core/participant.cc',
      'native/core/process_usage.cc',
      'native/core/reaper.cc',
      'native/core/region.cc',
      'native/core/seen_keys.cc',
      'native/core/slab.cc',
      'native/core/topic_peers.cc',
      'native/core/topic_publish.cc',
      'native/core/topic_store.cc',
      'native/core/topic_subscribe.cc',
      'native/core/topic_tail.cc',
      'native/core/trace.cc',
    ],
    'binding_sources': [
      'native/binding/addon.cc',
      'native/binding/agent_wrap.cc',
      'native/binding/agent_wrap_counters.cc',
      'native/binding/agent_wrap_groups.cc',
      'native/binding/agent_wrap_receive.cc',
      'native/binding/agent_wrap_topic.cc',
      'native/binding/fabric_wrap.cc',
      'native/binding/fabric_wrap_sample.cc',
      'native/binding/fabric_wrap_table.cc',
      'native/binding/fabric_wrap_control.cc',
      'native/binding/fabric_wrap_supervise.cc',
      'native/binding/fabric_wrap_trace.cc',
      'native/binding/loop_waiter.cc',
      'native/binding/pid_watch.cc',
      'native/binding/old_glibc.cc',
      'native/binding/start.cc',
    ],
    'cli_sources': [
      'native/cli/children.cc',
      'native/cli/command.cc',
      'native/cli/coordinator.cc',
      'native/cli/job.cc',
      'native/cli/keeper.cc',
      'native/cli/main.cc',
      'native/cli/notify.cc',
      'native/cli/process_tree.cc',
      'native/cli/processes.cc',
      'native/cli/shim.cc',
      'native/cli/shim_options.cc',
      'native/cli/shim_stream.cc',
      'native/cli/signals.cc',
      'native/cli/worker.cc',
    ],
  },
  'target_defaults': {
    'default_configuration': 'Release',
    'include_dirs': [ 'native' ],
    'defines': [
      'CFC_VERSION="<!(node -p "require(\'./package.json\').version")"',
    ],
    # Node's defaults ask for another standard on each release line.
    'cflags_cc!': [ '-std=gnu++17', '-std=gnu++20' ],
    'cflags_cc': [ '-std=c++20' ],
    'cflags': [
      '-fvisibility=hidden',
      '-fvisibility-inlines-hidden',
      '-ffunction-sections',
      '-fdata-sections',
      '-fstack-protector-strong',
    ],
    'ldflags': [
      '-Wl,-z,relro',
      '-Wl,-z,now',
      '-Wl,-z,noexecstack',
      '-Wl,--gc-sections',
    ],
    'ldflags!': [ '-rdynamic' ],
    'configurations': {
      # Fortified sources need optimisation, so Debug goes without.
      'Release': {
        'cflags': [ '-U_FORTIFY_SOURCE' ],
        'defines': [ '_FORTIFY_SOURCE=2', 'NDEBUG' ],
      },
    },
    'conditions': [
      ['target_arch=="x64"', {
        'cflags': [ '-fstack-clash-protection', '-fcf-protection=full' ],
      }],
      ['target_arch=="arm64"', {
        'cflags': [ '-fstack-clash-protection', '-mbranch-protection=standard' ],
      }],
    ],
  },
  'targets': [
    {
      'target_name': 'cfc',
      'sources': [ '<@(core_sources)', '<@(binding_sources)' ],
      'include_dirs': [
        '<!(node -p "require(\'node-addon-api\').include_dir")',
      ],
      # The last: a worker may be terminated in the middle of a call, and then nothing can be thrown.
      'defines': [
        'NAPI_VERSION=9',
        'NAPI_DISABLE_CPP_EXCEPTIONS',
        'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
      ],
    },
    {
      # Runs where no Node is, and on any libc: fully static.
      'target_name': 'cfc-native',
      'type': 'executable',
      'sources': [ '<@(core_sources)', '<@(cli_sources)' ],
      'cflags!': [ '-fPIC' ],
      'cflags': [ '-fPIE' ],
      'ldflags': [ '-static-pie' ],
    },
  ],
}
