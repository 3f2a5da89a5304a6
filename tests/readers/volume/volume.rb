# Prints the files that Ruby's globs find.
#
#     ruby volume.rb DIRECTORY…
#
# Each line is a JSON object: `reader`, `directory`, and `files` with the text of each.
require "json"

READERS = {
  "Dir.glob" => "**/*",
  "Dir.glob, one level" => "*",
}.freeze

ARGV.each do |directory|
  READERS.each do |reader, pattern|
    found = Dir.glob(pattern, base: directory).select { |name| File.file?(File.join(directory, name)) }
    files = found.to_h { |name| [name, File.read(File.join(directory, name))] }
    puts JSON.generate(reader:, directory:, files:)
  end
end
