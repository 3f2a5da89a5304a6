# Reads database.yml as Rails does: ERB, YAML, then Active Record's resolver of URLs.
#
#     ruby read.rb DIRECTORY
#
# The block of the page is DIRECTORY/CASE/0.yaml. Each line is a JSON object: `reader`, `case`, and either `fields`, with values in base64, or `error`.
require "active_record"
require "active_record/database_configurations"
require "base64"
require "erb"
require "json"
require "yaml"

Encoding.default_external = "UTF-8"
root = ARGV.first
Dir.children(root).sort.each do |name|
  line = { reader: "Rails", case: name }
  begin
    yaml = YAML.safe_load(ERB.new(File.read(File.join(root, name, "0.yaml"))).result, aliases: true)
    found = ActiveRecord::DatabaseConfigurations.new(yaml).configs_for(env_name: "production").first.configuration_hash
    fields = { username: found[:username], password: found[:password], host: found[:host] }
    line[:fields] = fields.transform_values { |value| Base64.strict_encode64(value.to_s) }
  rescue StandardError, SyntaxError => e
    line[:error] = "#{e.class}: #{e.message}"
  end
  puts JSON.generate(line)
end
