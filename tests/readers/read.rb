# Reads one file per case with Ruby and prints the fields.
#
#     ruby read.rb dotenv|erb|scheme-SCHEME DIRECTORY
#
# `dotenv` reads DIRECTORY/CASE/db.env with Ruby's dotenv. `erb` reads DIRECTORY/CASE/db/value as a Rails application does whose
# database.yml inserts it. `scheme-SCHEME` reads the URI in DIRECTORY/CASE/db.uri as Rails does. Each line is a JSON object: `reader`, `case`, and either `fields`, with values in base64, or `error`.
require "base64"
require "erb"
require "json"
require "yaml"

def dotenv(directory)
  require "dotenv"
  Dotenv::Parser.call(File.read(File.join(directory, "db.env"), encoding: "UTF-8"), true)
end

# The line that docs/formats/yaml.md recommends.
def erb(directory)
  path = File.join(directory, "db/value")
  YAML.safe_load(ERB.new("value: <%= File.read(#{path.inspect}).to_json %>\n").result)
end

# A whole database.yml from a template, which docs/formats/template.md warns about.
def erb_of_yaml(directory)
  YAML.safe_load(ERB.new(File.read(File.join(directory, "db.yaml"))).result)
end

# As Rails reads DATABASE_URL.
def active_record(directory)
  require "active_record"
  require "active_record/database_configurations"
  url = File.read(File.join(directory, "db.uri"), encoding: "UTF-8")
  found = ActiveRecord::DatabaseConfigurations::ConnectionUrlResolver.new(url).to_hash
  found.delete(:adapter)
  found.to_h { |name, value| [name, value.to_s] }
end

Encoding.default_external = "UTF-8"
format, root = ARGV
readers = { "dotenv" => { "Ruby dotenv" => :dotenv }, "erb" => { "ERB" => :erb }, "yaml" => { "ERB" => :erb_of_yaml } }
readers.default = { "Active Record" => :active_record }
readers[format].each do |reader, read|
  Dir.children(root).sort.each do |name|
    line = { reader:, case: name }
    begin
      line[:fields] = send(read, File.join(root, name)).transform_values { |value| Base64.strict_encode64(value) }
    rescue StandardError, SyntaxError => e
      line[:error] = e.class.name
    end
    puts JSON.generate(line)
  end
end
