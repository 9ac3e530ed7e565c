from django.db import migrations, models

NAME = 'mainspring_job_key'


def constrain(apps, schema_editor):  # type: ignore[no-untyped-def]
    """Keep two jobs from holding one key on MySQL too, which knows no constraint with a condition."""
    if schema_editor.connection.vendor == 'mysql':
        schema_editor.execute(f'CREATE UNIQUE INDEX {NAME} ON mainspring_job (holds_key)')


def unconstrain(apps, schema_editor):  # type: ignore[no-untyped-def]
    if schema_editor.connection.vendor == 'mysql':
        schema_editor.execute(f'DROP INDEX {NAME} ON mainspring_job')


class Migration(migrations.Migration):

    dependencies = [('mainspring', '0002_reach')]

    operations = [
        migrations.AddField(
            model_name='finished',
            name='unique_key',
            field=models.CharField(max_length=64, null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='holds_key',
            field=models.CharField(max_length=64, null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='unique_key',
            field=models.CharField(max_length=64, null=True),
        ),
        migrations.AddIndex(
            model_name='finished',
            index=models.Index(
                condition=models.Q(('unique_key__isnull', False)),
                fields=['unique_key', 'enqueued_at'],
                name='mainspring_finished_key',
            ),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.UniqueConstraint(
                condition=models.Q(('holds_key__isnull', False)), fields=('holds_key',), name=NAME
            ),
        ),
        migrations.RunPython(constrain, unconstrain, atomic=False),
    ]
