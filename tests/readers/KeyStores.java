import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.util.Base64;
import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.FutureTask;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/**
 * Reads the key store and trust store of each case, and lets a TLS server and a client that both use them authenticate each other.
 *
 * <pre>java KeyStores.java DIRECTORY</pre>
 *
 * The files of a case are keystore.p12, truststore.p12 and password in DIRECTORY/CASE. Each line printed is a JSON object: `reader`, `case`, and
 * either `fields`, with values in base64, or `error`. The fields are `key` (PKCS#8), each alias with its certificates in DER (`db/0`, `db/1`, `ca`),
 * and `peer`, the certificate that the server received.
 */
public class KeyStores {
    public static void main(String[] arguments) throws Exception {
        try (Stream<Path> cases = Files.list(Path.of(arguments[0]))) {
            for (Path directory : cases.sorted().collect(Collectors.toList())) {
                print(directory);
            }
        }
    }

    static void print(Path directory) {
        String result;
        try {
            result = read(directory).entrySet().stream()
                .map(entry -> quoted(entry.getKey()) + ":" + quoted(Base64.getEncoder().encodeToString(entry.getValue())))
                .collect(Collectors.joining(",", "\"fields\":{", "}"));
        } catch (Exception error) {
            result = "\"error\":" + quoted(error.toString().replaceAll("[\"\\\\\\p{Cntrl}]", "?"));
        }
        System.out.println("{\"reader\":\"Java\",\"case\":" + quoted(directory.getFileName().toString()) + "," + result + "}");
    }

    static Map<String, byte[]> read(Path directory) throws Exception {
        char[] password = Files.readString(directory.resolve("password")).toCharArray();
        KeyStore keys = load(directory.resolve("keystore.p12"), password);
        KeyStore trusted = load(directory.resolve("truststore.p12"), password);
        Map<String, byte[]> fields = new TreeMap<>();
        for (String alias : Collections.list(keys.aliases())) {
            fields.put("key", keys.getKey(alias, password).getEncoded());
            Certificate[] chain = keys.getCertificateChain(alias);
            for (int place = 0; place < chain.length; place++) {
                fields.put(alias + "/" + place, chain[place].getEncoded());
            }
        }
        for (String alias : Collections.list(trusted.aliases())) {
            if (trusted.isCertificateEntry(alias)) {
                fields.put(alias, trusted.getCertificate(alias).getEncoded());
            }
        }
        fields.put("peer", handshake(keys, trusted, password));
        return fields;
    }

    static KeyStore load(Path file, char[] password) throws GeneralSecurityException, IOException {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(new ByteArrayInputStream(Files.readAllBytes(file)), password);
        return store;
    }

    static byte[] handshake(KeyStore keys, KeyStore trusted, char[] password) throws Exception {
        KeyManagerFactory own = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        own.init(keys, password);
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(own.getKeyManagers(), trust.getTrustManagers(), null);
        try (SSLServerSocket listener = (SSLServerSocket) context.getServerSocketFactory().createServerSocket(0)) {
            listener.setNeedClientAuth(true);
            listener.setSoTimeout(60_000);
            FutureTask<byte[]> server = new FutureTask<>(() -> {
                try (SSLSocket socket = (SSLSocket) listener.accept()) {
                    socket.setSoTimeout(60_000);
                    byte[] peer = socket.getSession().getPeerCertificates()[0].getEncoded();
                    socket.getOutputStream().write(1);
                    return peer;
                }
            });
            Thread thread = new Thread(server);
            thread.setDaemon(true);
            thread.start();
            try (SSLSocket client = (SSLSocket) context.getSocketFactory().createSocket("localhost", listener.getLocalPort())) {
                client.setSoTimeout(60_000);
                if (client.getInputStream().read() != 1) {
                    throw new IOException("the server closed the connection");
                }
            }
            return server.get();
        }
    }

    static String quoted(String plain) {
        return '"' + plain + '"';
    }
}
